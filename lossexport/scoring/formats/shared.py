"""Helpers that several formats share."""


def number(text: str) -> float:
    """Turn plain text into a float. Raises ValueError, also for digits grouped by underscores."""
    if "_" in text:
        raise ValueError(text)
    return float(text)
