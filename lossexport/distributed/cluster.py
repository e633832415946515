"""A connection to Ray."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lossexport import arguments
from lossexport.errors import LossexportError, one_line
from lossexport.origin import install_command

_RETRIES = 10
"""How often the worker of a task may die."""


class Cluster:
    """Runs functions on the workers of a cluster. Their results stay there until they are taken."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def call(self, function: Callable[..., Any], *given: Any, results: int = 1) -> list[Any]:
        """Call `function`, which returns a list of so many results, on a worker.

        Returns references to these, which may be among what is `given` to another call.
        """
        options = {"max_retries": _RETRIES, "num_cpus": 1, "num_returns": results}
        if results == 1:
            return [self._ray.remote(**options)(_first).remote(function, *given)]
        return list(self._ray.remote(**options)(function).remote(*given))

    def keep(self, value: Any) -> Any:
        """A reference to a value of this process."""
        return self._ray.put(value)

    def results(self, waiting: Sequence[Any]) -> Iterator[Any]:
        """Take the results of calls with one result each, as they come. Raises what a call raised.

        Raises LossexportError if the cluster fails.
        """
        left = list(waiting)
        while left:
            ready, left = self._ray.wait(left, num_returns=1)
            try:
                value = self._ray.get(ready[0])
            except self._ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, LossexportError):
                    raise LossexportError(str(cause)) from error
                raise LossexportError(f"Ray: {one_line(error)}") from error
            yield value


def _first(function: Callable[..., Sequence[Any]], *given: Any) -> Any:
    return function(*given)[0]


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[Cluster]:
    """Connect to a cluster, or start one with `workers` processes on this machine.

    Raises LossexportError if Ray is not installed and if there is no such cluster.
    """
    if address is not None:
        arguments.text("address", address)
    if workers is not None and not (type(workers) is int and 1 <= workers <= 1024):
        raise arguments.refuse("workers", workers, "a whole number from 1 to 1024")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise LossexportError(f"Ray is not installed: {install_command('ray')}") from error
    if ray.is_initialized():
        if address is not None:
            raise LossexportError(f"address {address}: this process is connected to Ray already")
        yield Cluster(ray)
        return
    address = address or os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:  # Ray's errors of connecting have no base in common
        raise LossexportError(f"Ray at {address or 'this machine'}: {one_line(error)}") from error
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()
