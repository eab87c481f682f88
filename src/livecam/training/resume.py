"""Trainings that can go on: whole checkpoints, the configuration beside them, and the command that continues."""

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from livecam.core.errors import DataError
from livecam.core.files import temporary_sibling, write_atomically

_log = logging.getLogger(__name__)

# What a shell says of a process that signal 15 ended; Lightning leaves with 0, as if training were done.
TERMINATED = 128 + 15
# Words that Lightning resolves to a file by itself.
_WORDS = ("last", "best", "hpc")


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place and on the disk, then renames them.

    Lightning writes them to the folder for temporary files and moves them. Where that is another file system, moving
    is copying, and a kill then leaves half a checkpoint in the place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; remote paths are left to Lightning."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with temporary_sibling(Path(path), durable=True) as part:
            torch.save(checkpoint, part)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """Read a checkpoint without running code that it may carry, which Lightning would of remote ones."""
        return super().load_checkpoint(path, map_location or (lambda storage, _: storage), weights_only=True)


class SaveConfig(SaveConfigCallback):
    """Keeps the configuration beside the run, shows it in every logger, and says how an interrupted run goes on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The stock callback refuses a folder that exists, and a resumed run goes on in its own.
        super().__init__(*args, **kwargs | {"save_to_log_dir": False})
        self._file: Path | None = None

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write ``<command>_config.yaml`` into the run folder (rank zero calls this)."""
        folder = Path(next((logger.log_dir for logger in trainer.loggers if logger.log_dir), trainer.default_root_dir))
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{trainer.state.fn.value}_config.yaml"
        write_atomically(self._file, self.parser.dump(self.config, skip_none=False).encode())
        settings = {key: self.config.get(key).as_dict() for key in ("data", "model") if self.config.get(key)}
        for logger in trainer.loggers:
            logger.log_hyperparams(settings)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Print the command that goes on from the newest checkpoint, and leave as a terminated process does."""
        if isinstance(exception, SIGTERMException):
            exception.code = TERMINATED
        if self._file is None or self._file.name != "fit_config.yaml":
            return
        checkpoint = newest_checkpoint(trainer)
        if checkpoint is None:
            print("Training stopped before its first checkpoint: it begins anew.", file=sys.stderr)
        else:
            command = shlex.join(["train.py", "fit", "-c", str(self._file), "--ckpt_path", str(checkpoint)])
            print(f"Training stopped; this goes on from its last checkpoint: uv run {command}", file=sys.stderr)


def newest_checkpoint(trainer: Trainer) -> Path | None:
    """The checkpoint of a trainer that was written last; None before the first."""
    folders = {getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks}
    return newest(*(Path(folder) for folder in folders if folder))


def newest(*folders: Path) -> Path | None:
    """The checkpoint in some folders that was written last; None where there is none."""
    files = [file for folder in folders for file in folder.glob("*.ckpt")]
    return max(files, key=lambda file: file.stat().st_mtime_ns, default=None)


def last_of(run: Path, root: Path) -> Path | None:
    """What ``--ckpt_path last`` means: the newest checkpoint of a run, whoever wrote it, or None before the first.

    Lightning's own word means files called ``last`` alone, and neither those of a user's ModelCheckpoint nor what is
    saved when SLURM announces the end of a job.

    Args:
        run: Run folder.
        root: The trainer's ``default_root_dir``, where SLURM's go.
    """
    return newest(run / "checkpoints", root)


def requeued(root: Path) -> bool:
    """Whether SLURM has put this job back into its queue, which then runs its first command again.

    Args:
        root: The trainer's ``default_root_dir``.
    """
    return "SLURM_JOB_ID" in os.environ and any(root.glob("hpc_ckpt_*.ckpt"))


def check_checkpoint(path: str | Path) -> None:
    """Refuse what a training cannot go on from, before anything is started.

    Args:
        path: ``--ckpt_path``; words and remote paths are not looked into.

    Raises:
        DataError: When there is no such file, or it is damaged; names those beside it.
    """
    if str(path) in _WORDS or "://" in str(path) or Path(path).is_dir():
        return
    path = Path(path)
    others = ", ".join(str(file) for file in sorted(path.parent.glob("*.ckpt")) if file != path)
    beside = f"beside it lies {others}" if others else "training writes them to runs/<name>/checkpoints/"
    if not path.is_file():
        raise DataError(f"No checkpoint at {path}: {beside}.")
    try:
        # Mapped, so that only the list of what is inside is read.
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    # Damaged files raise whatever pickle, zipfile or torch happen to trip over.
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as a checkpoint (it is damaged, or carries code, which is never run): {beside}."
        ) from error
    parts = [content.get(key, {}) for key in ("hyper_parameters", "loops")] if isinstance(content, dict) else [None]
    if not all(isinstance(part, dict) for part in parts) or not isinstance(content.get("state_dict"), dict):
        raise DataError(f"{path} holds no training to go on from: {beside}.")


def check_folder(folder: Path) -> None:
    """Refuse to begin a training where another one's checkpoints lie.

    Args:
        folder: Run folder.

    Raises:
        DataError: With the options that continue, or start elsewhere.
    """
    checkpoint = newest(folder / "checkpoints")
    if checkpoint is not None:
        raise DataError(
            f"{folder} holds a training: go on by --ckpt_path {checkpoint}, or name another folder by --run."
        )
