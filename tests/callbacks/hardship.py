"""Run by test_hardship.py in a process of its own: memory, W&B and the disk give way one after the other."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import torch
from lightning import Callback, Trainer, seed_everything

from livecam.callbacks import ExplanationGallery, ExplanationScores
from livecam.data import PlantedShapesData
from livecam.explain import RISE, GradCAM
from livecam.metrics import Sharpness
from livecam.report.html.logger import HTMLLogger
from livecam.report.wandb_logger import RunFolderWandbLogger
from livecam.training.classifier import Classifier

MEGABYTE = 1 << 20


def size() -> int:
    """Bytes of address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def limit(kind: int, most: int | None) -> None:
    """Set the soft limit, which may rise again."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (hard if most is None else most, hard))


class Hardship(Callback):
    """Epoch 1: little memory. Epoch 2: W&B's process is killed. Epoch 3: no file can grow. Epoch 4: all is well."""

    def on_validation_start(self, trainer, pl_module):
        if trainer.current_epoch == 0:
            limit(resource.RLIMIT_AS, size() + 250 * MEGABYTE)
        if trainer.current_epoch == 2:
            limit(resource.RLIMIT_FSIZE, 1000)

    def on_validation_end(self, trainer, pl_module):
        if trainer.current_epoch == 0:
            limit(resource.RLIMIT_AS, None)
            service = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True, text=True)
            for number in map(int, service.stdout.split()):
                os.kill(number, signal.SIGKILL)
                print("killed W&B")
        if trainer.current_epoch == 2:
            # What was logged meanwhile meets the full disk too.
            trainer.loggers[0].flush()
            limit(resource.RLIMIT_FSIZE, None)


def main(folder: str) -> None:
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    methods = [GradCAM(), RISE(32, internal_batch_size=32)]
    data = PlantedShapesData(image_size=224, train_length=2, val_length=2, batch_size=2)
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        devices=1,
        logger=[HTMLLogger(folder, "run"), RunFolderWandbLogger(folder, "run")],
        callbacks=[ExplanationGallery(methods, samples=2), ExplanationScores(methods, [Sharpness()]), Hardship()],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
    )
    trainer.fit(Classifier("unet", 4, model_args={"width": 16, "depth": 1}), datamodule=data)
    print("finished", trainer.current_epoch, float(trainer.callback_metrics["val/failed_maps"]))


if __name__ == "__main__":
    main(sys.argv[1])
