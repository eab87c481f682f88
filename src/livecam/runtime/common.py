"""What commands that go through photos share: lists in options, the device, the progress bar."""

from collections.abc import Iterator
from contextlib import ExitStack

import torch

from livecam.runtime.progress import reporting_to


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
        ValueError: When this machine has no such device.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"There is no device {device!r} on this machine: try --device cpu.") from error
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
