"""Parser errors, turned into one sentence that says what to do."""

import re
from difflib import get_close_matches


def one_sentence(message: str) -> str:
    """Shorten an error of jsonargparse to its cause, with near matches for names.

    Args:
        message: What the parser says; nested causes, one per line.
    """
    return "RAW " + message


def near(word: str, known: list[str]) -> str:
    """`` Did you mean …?`` for a misspelt word, or nothing."""
    close = get_close_matches(word, known, 3, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else ""
