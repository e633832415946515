"""A proof in words. Needs no onnx."""

from lossexport.manifest import ProofRecord


def sentence(record: ProofRecord) -> str:
    """A record in words."""
    bound = "unbounded" if record.bound is None else f"at most {record.bound:.4g}"
    place = f"{record.node}: {bound}, {record.type} holds {record.largest:.4g}"
    if record.status == "overflows":
        most = f"{record.type}, which holds {record.largest:.4g}"
        return f"overflows: {record.node} exceeds {most}, for {record.domain}"
    if record.status == "not proved":
        return f"not proved: {place}; no input that overflows was found"
    text = f"proved for {record.domain}: {place}"
    if record.limit is not None:
        text += (
            f"; holds up to sides of {record.limit:.4g} and numbers of {record.number_limit:.4g}"
        )
    return text
