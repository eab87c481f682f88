"""What every benchmark prints first, and how it times."""

import os
import time
from collections.abc import Callable

import torch


def conditions(*libraries: object) -> str:
    """One line that says what a figure was measured on."""
    versions = ", ".join(f"{library.__name__} {library.__version__}" for library in (torch, *libraries))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"{device}; load {os.getloadavg()[0]:.1f}; {versions}"


def seconds(action: Callable[[], object], repeats: int = 1) -> float:
    """Best wall-clock time of ``repeats`` runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
