"""Names that people type, checked with near matches."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence with up to three near matches, led by a space; empty without any."""
    close = get_close_matches(str(name), list(known), 3, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def choose(what: str, value: str, options: tuple[str, ...]) -> str:
    """Return ``value`` when it is one of a few options.

    Args:
        what: Name of the argument, for the message.
        value: What the user wrote.
        options: Everything it may be.

    Raises:
        ValueError: When it is none of them.
    """
    if value not in options:
        raise ValueError(f"Unknown {what} {value!r}: use {', '.join(options)}.{did_you_mean(value, options)}")
    return value
