"""What a resumed training needs beside what Lightning restores: random states, and no rows of a lost future."""

from typing import Any, Protocol, runtime_checkable

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from livecam.runtime.failures import FailurePolicy
from livecam.runtime.model_state import random_states, set_random_states


@runtime_checkable
class Rewindable(Protocol):
    """A logger that can forget, as the local page does."""

    def discard_from(self, step: int) -> None:
        """Forget what was logged at this step and later."""


class Resumption(Callback):
    """Makes a training that goes on from a checkpoint the one that was never interrupted.

    Checkpoints hold the random states of Python, numpy, torch and the device, so that order, augmentation and dropout
    of the epochs to come are what they would have been. That holds on one device, from a checkpoint of the end of an
    epoch. In the middle of an epoch, the images of its rest are drawn anew; on several devices, random states are not
    restored.

    Loggers that are :class:`Rewindable`, such as the local page, forget what the killed training logged beyond
    the checkpoint, before the first step is logged again; W&B keeps it. `train.py` always brings this callback along.
    """

    def __init__(self) -> None:
        self._resumed = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the random states."""
        states = random_states(trainer.strategy.root_device)
        name, keys, *position = states["numpy"]
        # Checkpoints are read as plain values and tensors only.
        checkpoint["livecam_random_states"] = states | {"numpy": (name, keys.tolist(), *position)}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore them; ranks must not all draw what rank zero would have drawn."""
        self._resumed = trainer.state.fn == TrainerFn.FITTING
        states = checkpoint.get("livecam_random_states")
        # Here, because a scheduler that asks for the number of steps makes the loader begin before any later hook.
        if self._resumed and states is not None and trainer.world_size == 1:
            set_random_states(states, trainer.strategy.root_device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Wind the loggers back to the first step that is logged again."""
        if not self._resumed:
            return
        self._resumed = False
        # Private, but the step that Lightning's own scalars will carry; it is settled no earlier than here.
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        for logger in trainer.loggers:
            if isinstance(logger, Rewindable):
                name = type(logger).__name__
                with FailurePolicy(strict=False).suppress(f"{name} could not forget what a killed training left."):
                    logger.discard_from(step)


class LastCheckpoint(ModelCheckpoint):
    """Keeps the latest epoch as ``last.ckpt``, whether it was the best or not.

    ``save_last`` of a ModelCheckpoint that monitors a metric is renewed only when the best is. A class of its own, so
    that it lives beside any other ModelCheckpoint: Lightning tells them apart by class and settings.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False)
