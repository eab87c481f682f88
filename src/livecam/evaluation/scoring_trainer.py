"""How ``score`` and ``compare`` spread images over devices."""

import warnings
from dataclasses import dataclass

from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException


@dataclass
class ScoringTrainer:
    """How the images are spread over devices.

    Args:
        devices: Number of devices, or of processes on a CPU; auto takes all of the accelerator's.
        accelerator: auto, cpu, gpu and so on.
        strategy: How several of them work together.
        num_nodes: Number of machines.
    """

    devices: int | str = 1
    accelerator: str = "auto"
    strategy: str = "auto"
    num_nodes: int = 1

    def build(self) -> Trainer:
        """A trainer that only predicts: every image goes to one device, none is repeated.

        Raises:
            ValueError: When this machine has no such devices, or there is no such strategy.
        """
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "inference_mode": False}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
            try:
                return Trainer(**vars(self), **quiet, enable_model_summary=False)
            except (MisconfigurationException, TypeError) as error:
                raise ValueError(f"--trainer: {error} Try --trainer.accelerator cpu --trainer.devices 1.") from error
