"""How long explanations take, on the clock of whatever computes them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Spending:
    """Adds up the time of stretches of work.

    A GPU works on after the process has queued its work, and a process may be slower than the GPU: of each stretch the
    longer time counts, the one on the process's clock or the one between two events on the device.
    """

    def __init__(self) -> None:
        self.total = 0.0
        """Seconds so far, of all stretches that :meth:`latest` told of."""
        self._stretches: list[tuple[float, tuple[torch.cuda.Event, torch.cuda.Event] | None]] = []

    @contextmanager
    def stretch(self) -> Iterator[None]:
        """Measure what is done inside; nothing waits for the device."""
        start, before = time.perf_counter(), _mark()
        try:
            yield
        finally:
            after = _mark()
            events = None if before is None or after is None else (before, after)
            self._stretches.append((time.perf_counter() - start, events))

    def latest(self) -> float:
        """Seconds since this was last asked; waits until the device is done with them."""
        spent = 0.0
        for seconds, events in self._stretches:
            if events is not None:
                events[1].synchronize()
                seconds = max(seconds, events[0].elapsed_time(events[1]) / 1000)
            spent += seconds
        self._stretches.clear()
        self.total += spent
        return spent


def _mark() -> torch.cuda.Event | None:
    if not torch.cuda.is_initialized():
        return None
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
