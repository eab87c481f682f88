"""Failures of what watches a training: told once, with their traceback, and kept away from it."""

import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)

# What was told in this run: two callbacks often hold the same explainers.
_told: set[tuple[str, str]] = set()


def reset_warn_once() -> None:
    """Forget what was told: a new run begins."""
    _told.clear()


def warn_once(sentence: str, cause: str = "") -> None:
    """Log a sentence with the traceback of the exception being handled, once in a run.

    Args:
        sentence: What happened, and to whom.
        cause: The exception's own words; other numbers in them are nothing new.
    """
    key = sentence, re.sub(r"\d+", "", cause)
    if key not in _told:
        _told.add(key)
        _log.warning("%s", f"{sentence} {cause}".rstrip(), exc_info=True)


class FailurePolicy:
    """What becomes of exceptions: raised when strict, else told.

    Args:
        strict: Raise them.
    """

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.latest = ""
        """The latest exception's own words."""

    def __call__(self, sentence: str) -> None:
        """Deal with the exception being handled, whichever callback met it.

        Args:
            sentence: What failed, and what happens now; the exception's own words follow.
        """
        if self.strict:
            raise
        cause = sys.exc_info()[1]
        self.latest = str(cause.args[0] if isinstance(cause, KeyError) else cause)
        warn_once(sentence, self.latest)

    @contextmanager
    def suppress(self, sentence: str) -> Iterator[None]:
        """Keep any failure inside from whoever runs this."""
        try:
            yield
        except Exception:
            self(sentence)


def together_or_alone(
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Result],
    broken: Callable[[Exception], Sequence[Item]],
    alone: Callable[[Item, Callable[[], Result]], Result | None],
) -> list[Result]:
    """Work on all items at once; where one of them breaks that for all, on each by itself.

    Args:
        items: What is worked on.
        work: The work on any of them.
        broken: Told of the exception; says which items go on alone, or raises.
        alone: Does the work on a single item, and keeps its failure: None then.

    Returns:
        One result of all, or one of each item that works.
    """
    try:
        return [work(items)]
    except Exception as error:
        items = broken(error)
    results = [alone(item, lambda item=item: work([item])) for item in items]
    return [result for result in results if result is not None]
