"""Values that an option of a method or a metric does not have, refused in one sentence."""

from collections.abc import Iterable
from difflib import get_close_matches


def check_option(option: str, value: str, known: Iterable[str]) -> None:
    """Refuse a value that an option does not have.

    Raises:
        ValueError: With near matches and all values.
    """
    known = list(known)
    if value not in known:
        close = get_close_matches(str(value), known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{option}={value!r} is not one of {', '.join(known)}.{hint}")


def check_count(option: str, value: int, least: int = 1) -> None:
    """Refuse what is no whole number, or one below ``least``.

    Raises:
        ValueError: With the number.
    """
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{option} is a whole number from {least}, got {value!r}.")
