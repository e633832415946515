// How the search of the site ranks its results. Every op has a page with the same headings, so a word
// in one of them (an anchor, or a text with the score of a title) comes after other pages.
var Scorer = {
  score: ([page, , anchor, , score, , kind]) =>
    page.startsWith("docs/ops/") && (anchor || (kind === "text" && score >= 15)) ? score - 12 : score,
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
