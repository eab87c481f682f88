"""Long work in chunks that bound its memory and tell how far it got.

Methods that need many passes iterate over :func:`chunks`. Whoever runs them decides what becomes of the reports: a
command line shows them in its own bar, a training loop wants none, and by default a bar appears on standard error once
the work proves long.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import torch

from livecam.core.errors import OptionError

Report = Callable[[str, int, int], None]
"""Told after each chunk: what is being done, how many items are done, how many there are."""

_PATIENCE = 3.0

_report: ContextVar[Report | None] = ContextVar("report", default=None)


@contextmanager
def reporting_to(report: Report) -> Iterator[None]:
    """Send the progress of methods to ``report`` instead of a bar of their own."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def no_progress() -> Any:
    """A context without any progress bar."""
    return reporting_to(lambda label, done, total: None)


def chunks(label: str, count: int, size: int) -> Iterator[slice]:
    """Cut ``range(count)`` into slices of at most ``size``; each is reported when its work is done.

    Args:
        label: What is being done, for people.
        count: Number of items.
        size: Most items per slice.
    """
    report = _report.get()
    bar = _Bar() if report is None else None
    try:
        for start in range(0, count, size):
            stop = min(start + size, count)
            yield slice(start, stop)
            (report or bar)(label, stop, count)
    finally:
        if bar is not None:
            bar.close()


class _Bar:
    """Shows itself once the whole work is expected to take longer than people wait without asking."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._progress: Any = None

    def __call__(self, label: str, done: int, total: int) -> None:
        if self._progress is None:
            spent = time.monotonic() - self._start
            if done == total or spent * total / done < _PATIENCE:
                return
            self._open(label, total)
        self._progress.update(self._task, completed=done)

    def _open(self, label: str, total: int) -> None:
        from rich.console import Console
        from rich.errors import LiveError
        from rich.progress import Progress

        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(label, total=total)
        # Somebody else's bar may be on the screen already; two cannot be drawn at once.
        with suppress(LiveError):
            self._progress.start()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def listed(text: str) -> list[str]:
    """Values of an option that takes several, separated by commas; commas inside of brackets separate nothing."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def to_device(model: torch.nn.Module, device: str | None) -> torch.device:
    """Move a model in place; None takes the accelerator where there is one.

    Returns:
        The device.

    Raises:
        OptionError: When this machine has no such device.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"There is no device {device!r} on this machine: try --device cpu.") from error
    return torch.device(device)


class Bars:
    """A progress bar with the time left; below it, how far a method of many passes is.

    Args:
        label: What is being done.
        total: Number of items.
        done: How many of them were done before.
    """

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        from rich.progress import Progress, TimeRemainingColumn

        self._bar = Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn())
        self._whole = self._bar.add_task(label, total=total, completed=done)
        self._inner = self._bar.add_task("", visible=False)
        self._open = ExitStack()

    def __enter__(self) -> "Bars":
        self._open.enter_context(self._bar)
        self._open.enter_context(reporting_to(self._report))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def advance(self, items: int) -> None:
        """So many more are done."""
        self._bar.advance(self._whole, items)

    def _report(self, method: str, done: int, total: int) -> None:
        self._bar.update(self._inner, description=f"  {method}", completed=done, total=total, visible=done < total)


def progress(label: str, items: list, size: int) -> Iterator[list]:
    """Chunks of at most ``size`` items, under a progress bar."""
    with Bars(label, len(items)) as bars:
        for start in range(0, len(items), size):
            yield items[start : start + size]
            bars.advance(len(items[start : start + size]))
