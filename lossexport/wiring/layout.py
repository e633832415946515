"""The layout of a batch of rows: detectors give them as [B,A,C] or as [B,C,A]."""

from collections.abc import Mapping

from lossexport.catalog.spec import Dim
from lossexport.wiring.graph import Size, Term, Wiring

_WITH_BATCH = 3


def in_rows(wiring: Wiring, term: Term, wanted: tuple[Dim, ...], bound: Mapping[Dim, Size]) -> Term:
    """`term`, as [B,A,C] where it is [B,C,A] and does not fit the sizes of the other inputs.

    `wanted` is the shape that the op declares, and `bound` are the sizes of its dimensions in the
    inputs so far, None where a size is open.
    """
    if len(term.shape) != len(wanted) or len(wanted) < _WITH_BATCH:
        return term
    form = tuple(bound.get(dim, dim) for dim in wanted)
    order = (*range(len(wanted) - 2), len(wanted) - 1, len(wanted) - 2)
    other = tuple(term.shape[axis] for axis in order)
    if _fits(term.shape, form) or not _fits(other, form):
        return term
    return wiring.transpose(term, *order)


def _fits(shape: tuple[Size, ...], form: tuple[Dim | Size, ...]) -> bool:
    return all(isinstance(dim, str) or size == dim for size, dim in zip(shape, form, strict=True))
