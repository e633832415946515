"""Progress of a scoring run, on stderr or for a caller's own display."""

import contextlib
from collections.abc import Callable, Iterator

from lossexport import arguments

Progress = Callable[[str, float], None]
"""Called with the name of the step and the part of it that is done, 0 to 1."""


@contextlib.contextmanager
def follow(progress: bool | Progress, verb: str) -> Iterator[Progress]:
    """Yield what to call: the caller's function, or one that shows "`verb`: ..." or nothing."""
    if callable(progress):
        yield progress
    elif not isinstance(progress, bool):
        raise arguments.refuse("progress", progress, "a bool or a function")
    elif progress:
        import lossexport.progress

        with lossexport.progress.progress(verb, percent=True) as step:
            yield lambda name, part: step(round(100 * part), 100, name)
    else:
        yield lambda name, part: None
