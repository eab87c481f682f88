"""Wall-clock time and peak memory of actions that take turns, since what else a machine does comes and goes."""

import ctypes
import gc
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

COSTLY = 60.0
"""Seconds of a first round after which nothing is repeated: what is set up once is lost in it."""


@dataclass
class Measured:
    """What one action took.

    Args:
        seconds: Of each run that counts.
        peak_mib: Peak memory above what was held before, in MiB; None where it cannot be read.
        ratios: Over the first action's run of the same round.
    """

    seconds: list[float]
    peak_mib: float | None
    ratios: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float | list[float] | None]:
        """Medians, and all runs, as JSON takes them."""
        return {
            "ms": round(1e3 * statistics.median(self.seconds), 3),
            "ratio": round(statistics.median(self.ratios), 4),
            "ratios": [round(ratio, 4) for ratio in self.ratios],
            "peak_mib": None if self.peak_mib is None else round(self.peak_mib, 1),
        }


class PeakMemory:
    """The most memory that a block needed above what was held at its start, in MiB.

    On CUDA the allocator's own count. Elsewhere resident memory of the process, which a thread reads every 2 ms, and so
    misses shorter peaks; what the C library kept from before is given back first. None without ``/proc``.
    """

    _statm = Path("/proc/self/statm")

    def __enter__(self) -> Self:
        self.mib: float | None = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        elif self._statm.exists():
            with suppress(OSError, AttributeError):
                ctypes.CDLL(None).malloc_trim(0)
            self._before = self._most = self._resident()
            self._over = threading.Event()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if torch.cuda.is_available():
            self.mib = (torch.cuda.max_memory_allocated() - self._before) / 2**20
        elif self._statm.exists():
            self._over.set()
            self._thread.join()
            self.mib = (max(self._most, self._resident()) - self._before) / 2**20

    def _resident(self) -> int:
        return int(self._statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            self._most = max(self._most, self._resident())


def seconds(action: Callable[[], object]) -> float:
    """Of one run, to the end of what it started on the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rounds(first: float, repeats: int) -> int:
    """How many rounds follow a first one of so many seconds."""
    return 0 if first > COSTLY else repeats


def in_turns(actions: Mapping[str, Callable[[], object]], repeats: int) -> tuple[dict[str, Measured], dict[str, str]]:
    """Run all actions once, unmeasured unless that is costly, then ``repeats`` times in turns.

    Peak memory is read in the first round. Ratios are taken within a round.

    Args:
        actions: By name; the first is the unit of the ratios and must not fail.
        repeats: Rounds that count.

    Returns:
        What each took, and why the others failed: an action that raises does not take part.
    """
    measured, failed, alone = {}, {}, {}
    for name, action in actions.items():
        try:
            with PeakMemory() as peak:
                alone[name] = seconds(action)
        except Exception as error:
            if not measured:
                raise
            failed[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        else:
            measured[name] = Measured([], peak.mib)
    following = rounds(sum(alone.values()), repeats)
    for spent in ([{name: seconds(actions[name]) for name in measured} for _ in range(following)]) or [alone]:
        unit = spent[next(iter(measured))]
        for name, each in measured.items():
            each.seconds.append(spent[name])
            each.ratios.append(spent[name] / unit)
    return measured, failed
