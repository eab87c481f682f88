"""Where a run lives: one folder below ``runs/`` for its page, checkpoints and W&B files."""

import itertools
import os
import time
from pathlib import Path
from typing import Any

from livecam.core.errors import OptionError

RUNS = Path("runs")
_SHARED = "LIVECAM_RUN"
_NAMELESS = (
    "The processes of this training have no way to agree on a run folder (on several nodes torchrun, with its store, "
    "or srun gives them one): name it by --run."
)


def run_name(name: str | None, checkpoint: str | Path | None, nodes: int = 1) -> str:
    """Name of the run folder, the same on all ranks: the one given, the one a checkpoint lies in, or a new one.

    Args:
        name: What the user asked for.
        checkpoint: ``--ckpt_path``: ``runs/<name>/checkpoints/<file>`` continues ``<name>``.
        nodes: Number of machines.

    Raises:
        OptionError: When processes on several machines have no means to agree on a new name.
    """
    if name is not None:
        return name
    folder = Path(checkpoint).parent if checkpoint else None
    if folder is not None and folder.name == "checkpoints":
        return folder.parent.name
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _told_by_torchrun()
    # Lightning starts the other ranks as processes of their own: they take the name that the first one chose.
    if "LOCAL_RANK" in os.environ and _SHARED in os.environ:
        return os.environ[_SHARED]
    if _started_by_srun():
        # A job that is put back into the queue keeps its number, and so its folder.
        job, step = os.environ["SLURM_JOB_ID"], os.environ["SLURM_STEP_ID"]
        agreed = f"slurm_{job}" if step == "0" else f"slurm_{job}_{step}"
        again = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
        # A single task need not agree with anybody, and may train several times, as the agent of a sweep does.
        return agreed if again or os.environ["SLURM_NTASKS"] != "1" else _shared(_unused(agreed))
    if nodes > 1:
        raise OptionError(_NAMELESS)
    return _shared(_new_name())


def _shared(name: str) -> str:
    os.environ[_SHARED] = name
    return name


def _new_name() -> str:
    return _unused(time.strftime("%Y-%m-%d_%H-%M-%S"))


def _unused(name: str) -> str:
    # A sweep may start several runs in one second.
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(name for name in names if not (RUNS / name).exists())


def _told_by_torchrun() -> str:
    """The name that rank zero chooses, through the store by which torchrun's processes find each other."""
    from torch.distributed import TCPStore

    # Switched off by TORCH_DISABLE_SHARE_RDZV_TCP_STORE: nobody would answer.
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise OptionError(_NAMELESS)
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, wait_for_workers=False)
    # Processes that are started again after a failure begin a run of their own.
    key = f"livecam_run_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if os.environ["RANK"] == "0":
        store.set(key, _new_name())
    return store.get(key).decode()


def _started_by_srun() -> bool:
    # As Lightning sees it; an interactive shell has a job, too, and a step only where srun starts something.
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return {"SLURM_NTASKS", "SLURM_JOB_ID", "SLURM_STEP_ID"} <= os.environ.keys() and not interactive


def default_loggers(loggers: Any, name: str) -> Any:
    """The trainer's loggers: the local page and W&B, unless the user configured some (or False).

    Args:
        loggers: ``trainer.logger`` of the configuration.
        name: Run folder.
    """
    if loggers not in (None, True):
        return loggers
    folder = {"save_dir": str(RUNS), "name": name}
    return [
        {"class_path": "livecam.report.html.logger.HTMLLogger", "init_args": dict(folder)},
        {"class_path": "livecam.report.wandb_logger.RunFolderWandbLogger", "init_args": dict(folder)},
    ]
