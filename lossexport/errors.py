"""Errors that users see: one line each, naming the file, the field and the value."""


class LossexportError(ValueError):
    """Bad usage or bad input. The command line prints the message and exits with 2."""


class CheckFailedError(Exception):
    """A check ran and failed (parity, gate). The command line exits with 1."""
