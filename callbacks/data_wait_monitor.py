"""LoaderWatch: whether training waits for its data, and what to do about it."""

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler
from torch.utils.data import DataLoader

from livecam.core.batch import batch_size_of

_log = logging.getLogger(__name__)

# Batches at the start of an epoch that are left out: the first ones wait for loader processes to start and fill up.
_WARM_UP = 4
# What Lightning's profiler calls ``next(loader)``, behind the name of the loop.
_FETCH = "train_dataloader_next"


class FetchTimes(PassThroughProfiler):
    """Measures ``next(loader)`` and nothing else; of all times it keeps the latest.

    Args:
        now: Tells the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self._now, self._begun = now, 0.0
        self.recorded_durations: dict[str, deque[float]] = {_FETCH: deque(maxlen=1)}

    def start(self, action_name: str) -> None:
        if action_name.endswith(_FETCH):
            self._begun = self._now()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(_FETCH):
            self.recorded_durations[_FETCH].append(self._now() - self._begun)


@dataclass
class _Stretch:
    """Batches watched so far, all on one rank: seconds of training, those spent waiting, images."""

    seconds: float = 0.0
    waited: float = 0.0
    images: int = 0
    batches: int = 0

    @property
    def share(self) -> float:
        """Share of the time spent waiting, in [0, 1]."""
        return min(1.0, self.waited / self.seconds) if self.seconds else 0.0


class LoaderWatch(Callback):
    """Logs ``train/waiting_for_data``, the share of an epoch's training time spent waiting, and says once what helps.

    **What counts.** Time runs from one ``on_train_batch_start`` to the next of the same epoch; waiting is the time
    inside ``next(loader)``, which Lightning's profiler measures: a :class:`FetchTimes` where the trainer has none, else
    the trainer's own, if that is a ``SimpleProfiler``; under other profilers nothing is logged, because they slow
    training down. The gap between ``on_train_batch_end`` and the next start would be easier to see, but other
    callbacks, loggers and, on several ranks, a broadcast that waits for the device all run in it. A stretch with a
    validation or a checkpoint in it is left out, and so are the first batches of an epoch.

    **Loader processes** work ahead: ``next`` waits only where their queue is empty, so where they are slower than the
    training over many batches, or where there are none. A loader without a length is read one batch ahead by Lightning;
    that moves the waiting by one batch and changes no sum.

    **On a GPU** the process runs ahead of the device only until the queue of the device is full, which is after a few
    batches; from then on it has to wait for the device, and loader processes have time to fill their queue.

    **On several ranks** every step waits for the slowest, so the greatest share of any rank is logged.

    Args:
        share: Share of waiting, in [0, 1], from which the hint is given.
        batches: How many batches must have been watched before.
        seconds: How long they must have taken: nobody minds waiting in a run of a few seconds.
    """

    def __init__(self, share: float = 0.2, batches: int = 20, seconds: float = 10.0) -> None:
        self.share, self.batches, self.seconds = share, batches, seconds
        self.hint: str | None = None
        """What was said in this run."""
        self._epoch, self._recent = _Stretch(), _Stretch()
        self._position = self._images = 0
        self._begun: float | None = None

    def _now(self) -> float:
        return time.perf_counter()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have ``next(loader)`` measured."""
        self.hint, self._recent = None, _Stretch()
        if type(trainer.profiler) is PassThroughProfiler:
            trainer.profiler = FetchTimes(self._now)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count anew."""
        self._epoch, self._position, self._begun = _Stretch(), 0, None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out the stretch that this belongs to."""
        self._begun = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Leave out the stretch that this belongs to."""
        self._begun = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """End one stretch and begin another."""
        now, waits = self._now(), self._waits(trainer)
        if self._begun is not None and waits:
            for stretch in (self._epoch, self._recent):
                stretch.seconds += now - self._begun
                stretch.waited += waits[-1]
                stretch.images += self._images
                stretch.batches += 1
            self._judge(trainer)
        self._position += 1
        self._begun = now if self._position >= _WARM_UP else None
        self._images = batch_size_of(batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the share; every rank takes part, because every one has watched as many batches."""
        if self._epoch.batches:
            share = torch.tensor(self._epoch.share, device=pl_module.device)
            pl_module.log("train/waiting_for_data", share, sync_dist=True, reduce_fx="max")

    def _waits(self, trainer: Trainer) -> Sequence[float]:
        """Seconds inside ``next(loader)``, the latest last; empty where nobody measures them."""
        durations = getattr(trainer.profiler, "recorded_durations", {})
        return next((times for action, times in durations.items() if action.endswith(_FETCH)), ())

    def _judge(self, trainer: Trainer) -> None:
        recent = self._recent
        if self.hint or recent.batches < self.batches or recent.seconds < self.seconds:
            return
        self._recent = _Stretch()
        if recent.share > self.share and trainer.is_global_zero:
            self.hint = _hint(recent, trainer)
            _log.warning(self.hint)


def _hint(stretch: _Stretch, trainer: Trainer) -> str:
    """What is wrong, in figures, and what would help with this loader on this machine."""
    images_per_second = stretch.images * trainer.world_size / stretch.seconds
    computing = max(stretch.seconds - stretch.waited, stretch.seconds / 100)
    possible = stretch.images * trainer.world_size / computing
    sentence = (
        f"The loader is the bottleneck: {stretch.share:.0%} of training time was spent waiting for data (it gave "
        f"{images_per_second:.0f} images/s, the network could take {possible:.0f})."
    )
    smaller = "store the photos smaller (docs/throughput.md)"
    loader = trainer.train_dataloader
    if not isinstance(loader, DataLoader):
        return f"{sentence} Give it more worker processes, or {smaller}."
    workers, cores = loader.num_workers, _cores()
    # Processes that were given cores of their own do not share them.
    sharing = trainer.num_devices if cores == os.cpu_count() else 1
    room = max(1, cores // sharing)
    # Without processes of its own loading takes the waiting alone; with them, each is busy all the time.
    busy = workers * stretch.seconds if workers else stretch.waited
    needed = max(workers + 1, math.ceil(busy / computing))
    machine = f"this machine has {cores} core{'s' if cores > 1 else ''}"
    machine += f" for {sharing} processes" if sharing > 1 else ""
    if workers >= room:
        return f"{sentence} All cores are loading already ({workers} workers, {machine}): {smaller}."
    has_option = hasattr(trainer.datamodule, "num_workers")
    option = f"--data.num_workers {min(needed, room)}" if has_option else f"num_workers={min(needed, room)}"
    ending = "." if needed <= room else f"; if that is not enough, {smaller}."
    return f"{sentence} Try {option} (now {workers}, {machine}){ending}"


def _cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
