"""A proof in words. Needs no onnx."""

from lossexport.manifest import ProofRecord


def sentence(record: ProofRecord) -> str:
    """A record in words."""
    if record.status == "overflows":
        most = f"{record.type}, which holds {record.largest:.4g}"
        example = f", such as {record.example}" if record.example else ""
        return f"overflows: {record.node} exceeds {most}, for {record.domain}{example}"
    place = f"{record.node}: {_bounded(record.bound)}, {record.type} holds {record.largest:.4g}"
    sizes = f"sides of {record.limit or 0.0:.4g} and numbers of {record.number_limit or 0.0:.4g}"
    if record.status == "not proved":
        text = f"not proved: {place} ({record.reason}); no input that overflows was found"
        return text if record.limit is None else f"{text}; proved up to {sizes}"
    text = f"proved for {record.domain}: {place}"
    if record.large:
        results = ", ".join(f"{name} ({_bounded(most)})" for name, most in record.large.items())
        text += f"; not shown to fit their outputs are the results {results}"
    return text if record.limit is None else f"{text}; holds up to {sizes}"


def _bounded(bound: float | None) -> str:
    return "unbounded" if bound is None else f"at most {bound:.4g}"
