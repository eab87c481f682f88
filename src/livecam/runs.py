"""Where a run lives: one folder below ``runs/`` for its page, checkpoints and W&B files."""

import itertools
import os
import time
from pathlib import Path
from typing import Any

RUNS = Path("runs")
_SHARED = "LIVECAM_RUN"


def run_name(name: str | None, checkpoint: str | Path | None) -> str:
    """Name of the run folder: the one given, the one a resumed checkpoint lies in, or a new one.

    Args:
        name: What the user asked for.
        checkpoint: ``--ckpt_path``: ``runs/<name>/checkpoints/<file>`` continues ``<name>``.
    """
    if name is not None:
        return name
    folder = Path(checkpoint).parent if checkpoint else None
    if folder is not None and folder.name == "checkpoints":
        return folder.parent.name
    # Lightning starts the other ranks as processes of their own: they take the name that the first one chose.
    if "LOCAL_RANK" in os.environ and _SHARED in os.environ:
        return os.environ[_SHARED]
    now = time.strftime("%Y-%m-%d_%H-%M-%S")
    # A sweep may start several runs in one second.
    names = itertools.chain([now], (f"{now}_{number}" for number in itertools.count(2)))
    os.environ[_SHARED] = next(name for name in names if not (RUNS / name).exists())
    return os.environ[_SHARED]


def default_loggers(asked: Any, name: str) -> Any:
    """The trainer's loggers: the local page and W&B, unless the user configured some (or False).

    Args:
        asked: ``trainer.logger`` of the configuration.
        name: Run folder.
    """
    if asked not in (None, True):
        return asked
    folder = {"save_dir": str(RUNS), "name": name}
    return [
        {"class_path": "livecam.report.html_logger.HTMLLogger", "init_args": dict(folder)},
        {"class_path": "livecam.report.wandb_logger.RunFolderWandbLogger", "init_args": dict(folder)},
    ]
