"""W&B without ceremony: offline when nobody is logged in, and one run per run folder."""

import contextlib
import logging
import netrc
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

_log = logging.getLogger(__name__)


class RunFolderWandbLogger(WandbLogger):
    """A WandbLogger whose run id is the name of its run folder, so that a resumed training continues the same run.

    A W&B that fails once the run has begun, because its process died or the disk is full, costs what would have been
    logged, with a warning, never the training.

    Args:
        save_dir: Folder of all runs; W&B's own files go to ``<save_dir>/<name>/wandb``.
        name: Run folder; also the run's name and id.
        project: W&B project.
        offline: Keep everything on this machine; None does so when nobody is logged in and WANDB_MODE is not set.
        kwargs: What else ``wandb.init`` takes.
    """

    def __init__(
        self,
        save_dir: str = "runs",
        name: str | None = None,
        project: str = "livecam",
        offline: bool | None = None,
        **kwargs: Any,
    ) -> None:
        if offline is None:
            offline = "WANDB_MODE" not in os.environ and not _logged_in()
            if offline:
                _log.info("W&B: nobody is logged in, so this run stays offline; `wandb sync` uploads it later.")
        folder = Path(save_dir, name) if name else Path(save_dir)
        if rank_zero_only.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
        kwargs.setdefault("settings", _prompt_settings())
        super().__init__(
            name=name, save_dir=str(folder), id=name, project=project, offline=offline, resume="allow", **kwargs
        )
        self._warned = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with self._spare_the_training():
            super().log_metrics(metrics, step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        with self._spare_the_training():
            super().log_hyperparams(params)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        with self._spare_the_training():
            super().after_save_checkpoint(checkpoint_callback)

    def finalize(self, status: str) -> None:
        with self._spare_the_training():
            super().finalize(status)

    @contextlib.contextmanager
    def _spare_the_training(self) -> Iterator[None]:
        run = self._experiment
        try:
            yield
        # Whatever W&B's connection, its files or its protocol may raise.
        except Exception as error:
            if run is None:
                # A run that cannot even begin should say so before hours of training.
                raise
            if not self._warned:
                rank_zero_warn(
                    f"W&B takes nothing any more ({error}); training goes on. What it has is in {Path(run.dir).parent}."
                )
            self._warned = True


def _prompt_settings() -> dict[str, float]:
    """Settings of W&B by which its process writes once a second, not every 15: a kill may end that process, too."""
    import wandb

    name = "x_transaction_log_flush_interval"
    # Releases before it write when a block is full.
    return {name: 1.0} if name in wandb.Settings.model_fields else {}


def _logged_in() -> bool:
    """Whether W&B will find credentials: in the environment, or stored in the netrc file by ``wandb login``."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    files = [Path(os.environ["NETRC"])] if "NETRC" in os.environ else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in files:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(file).authenticators(host):
                return True
    return False
