"""Write what is proved of exported fp16 and bf16 files into `docs/precision.md`.

    lossexport export --precision fp16 --gradient --out out
    python docs/proofs.py out

Every file of the folder is analysed, for its image in the manifest or the default one.
"""

import collections
import sys
from pathlib import Path

from lossexport.manifest import ProofRecord
from lossexport.parity.artifact import identify
from lossexport.ranges import prove

PAGE = Path(__file__).parent / "precision.md"
BEGIN, END = "<!-- proofs: begin -->", "<!-- proofs: end -->"


def table(records: dict[str, ProofRecord]) -> str:
    """The counts by precision, and the files that are not proved, with what stops the proof."""
    lines = ["| precision | files | proved | with results that fit | not proved | overflows |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for precision in ("fp16", "bf16"):
        chosen = [one for stem, one in records.items() if stem.endswith(precision)]
        if not chosen:
            continue
        count = collections.Counter(one.status for one in chosen)
        fits = sum(one.status == "proved" and not one.large for one in chosen)
        numbers = (len(chosen), count["proved"], fits, count["not proved"], count["overflows"])
        lines.append(f"| {precision} | " + " | ".join(map(str, numbers)) + " |")
    lines += ["", "Not proved:", "", "| file | first node | reason |", "| --- | --- | --- |"]
    for stem, one in sorted(records.items()):
        if one.status != "proved":
            lines.append(f"| `{stem}` | `{one.node}` | {one.reason or one.status} |")
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Analyse the files and replace the part of the page between the two marks."""
    records = {}
    for path in sorted(folder.glob("*.onnx")):
        variant, _ = identify(path)
        if variant.precision != "fp32":
            records[variant.stem] = prove(path.read_bytes(), variant)
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(records)}\n\n{END}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
