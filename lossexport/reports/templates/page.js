"use strict";
// Sorts and filters the tables and filters the box browser. Without it, all rows and boxes show.
const make = (tag, text, properties) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(text);
  return made;
};

// Null for undefined numbers (a dash, nothing); what exceeds every bound is infinite.
const size = (text) => {
  if (/^(beyond|inf|>)/.test(text)) return Infinity;
  const value = parseFloat(text.replace(/,/g, "").replace("\u2212", "-"));
  return value === value ? value : null;
};

const sortable = (table) => {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    if (head.classList.contains("meter")) return;
    const numeric = head.classList.contains("num");
    // Beside the title: browsers do not print buttons in repeated headings.
    const button = make("button", "", { type: "button" });
    button.setAttribute("aria-label", `Sort by ${head.textContent}`);
    head.append(button);
    head.addEventListener("click", () => {
      const sorted = head.getAttribute("aria-sort");
      const down = sorted ? sorted === "ascending" : numeric;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => {
        const text = row.cells[column].textContent.trim();
        return [numeric ? size(text) : text, row];
      });
      keyed.sort(([a], [b]) => {
        if (!numeric) return (down ? -1 : 1) * a.localeCompare(b, undefined, { numeric: true });
        if (a === null || b === null) return (a === null) - (b === null);
        return a === b ? 0 : (a < b) === down ? 1 : -1;
      });
      body.append(...keyed.map(([, row]) => row));
    });
  });
};

const filterable = (table) => {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 8 || rows[0].cells.length < 3) return;
  const field = make("input", "", { type: "search", autocomplete: "off" });
  const label = make("label", "Filter rows ", {});
  const found = make("output", "", {});
  label.append(field);
  const line = make("div", label, { className: "filter" });
  line.append(found);
  table.parentElement.before(line);
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    rows.forEach((row) => {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
    const shown = rows.filter((row) => !row.hidden).length;
    found.textContent = wanted ? `${shown} of ${rows.length} rows` : "";
  });
};

const browsable = (filters) => {
  const kinds = [...filters.querySelectorAll("input[type=checkbox]")];
  const category = filters.querySelector("select");
  const least = filters.querySelector("[type=number]");
  const scenes = [...filters.parentElement.querySelectorAll(".scene")];
  const show = () => {
    const wanted = new Set(kinds.filter((kind) => kind.checked).map((kind) => kind.value));
    let [images, boxes] = [0, 0];
    scenes.forEach((scene) => {
      const drawn = scene.querySelectorAll("g");
      let shown = 0;
      scene.querySelectorAll(".faults li").forEach((item, place) => {
        const { kind, class: name, score } = item.dataset;
        // A missed box has no score, so no least score leaves it out.
        item.hidden = !wanted.has(kind) || (category.value !== "" && name !== category.value)
          || (score !== undefined && least.value !== "" && Number(score) < Number(least.value));
        drawn[place].classList.toggle("off", item.hidden);
        shown += item.hidden ? 0 : 1;
      });
      scene.hidden = shown === 0;
      images += shown ? 1 : 0;
      boxes += shown;
    });
    const found = filters.querySelector("output");
    found.textContent = `${boxes} ${boxes === 1 ? "box" : "boxes"} on ${images} of ${scenes.length} images`;
  };
  filters.hidden = false;
  filters.addEventListener("input", show);
  show();
};

document.querySelectorAll("table.sortable").forEach((table) => {
  sortable(table);
  filterable(table);
});
document.querySelectorAll(".filters").forEach(browsable);

// Only a box that scrolls takes part in the order of the tab key.
const boxes = new ResizeObserver((entries) => entries.forEach(({ target }) => {
  const wide = target.scrollWidth > target.clientWidth;
  const tall = target.scrollHeight > target.clientHeight;
  target.classList.toggle("wide", wide);
  target.classList.toggle("tall", tall);
  if (wide || tall) target.tabIndex = 0;
  else target.removeAttribute("tabindex");
}));
document.querySelectorAll(".scroll").forEach((box) => boxes.observe(box));
