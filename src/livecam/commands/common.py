"""What commands that go through photos share: lists in options, the device, the progress bar."""

from collections.abc import Iterator

import torch

from livecam.progress import reporting_to


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


def progress(label: str, items: list, size: int) -> Iterator[list]:
    """Chunks of at most ``size`` items, under a progress bar with the time left.

    Methods of many passes show how far they are below it.
    """
    from rich.progress import Progress, TimeRemainingColumn

    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn()) as bar:
        whole, inner = bar.add_task(label, total=len(items)), bar.add_task("", visible=False)

        def report(method: str, done: int, total: int) -> None:
            bar.update(inner, description=f"  {method}", completed=done, total=total, visible=done < total)

        with reporting_to(report):
            for start in range(0, len(items), size):
                yield items[start : start + size]
                bar.advance(whole, len(items[start : start + size]))
