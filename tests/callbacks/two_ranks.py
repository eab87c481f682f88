"""Run by test_ddp.py as two ranks, and by itself as one: what they score, train and write."""

import json
import os
import sys
from pathlib import Path

import torch
from lightning import Trainer

sys.path.insert(0, str(Path(__file__).parent))
from undisturbed_fits import EVERYTHING, fit

from livecam.callbacks import ExplanationGallery, ExplanationScores
from livecam.data import Coco
from livecam.data.planted import PlantedShapes, PlantedShapesData
from livecam.explain import CAM, GradCAM
from livecam.metrics import (
    EnergyInMask,
    InsertionDeletion,
    LocalizationScore,
    MaskOverlap,
    PointingGame,
    Reclassification,
)
from livecam.report.html.logger import HTMLLogger
from livecam.report.wandb_logger import RunFolderWandbLogger
from livecam.training.classifier import Classifier

KINDS = ("indexed", "bare", "several labels")


class Bare(PlantedShapes):
    """Samples without an index: padding has to be recognized by position."""

    def __getitem__(self, index):
        return {key: value for key, value in super().__getitem__(index).items() if key != "index"}


def validate(kind: str, folder: Path, out: str, devices: int) -> dict[str, dict[str, float]]:
    """Scores of an untrained network on 13 images: with two ranks, the last one gets a repeated image."""
    torch.manual_seed(0)
    if kind == "several labels":
        data = Coco(str(folder / "coco"), image_size=32, batch_size=3, num_workers=0, resize="stretch")
    else:
        data = PlantedShapesData(image_size=32, train_length=8, val_length=13, batch_size=3)
    if kind == "bare":
        data.sets["val"].__class__ = Bare
    module = Classifier("unet", data.num_classes, data.head, model_args={"width": 4, "depth": 1})
    methods = [GradCAM(), CAM()]
    # Untrained, the network gives several labels about a half each.
    scores = ExplanationScores(methods, min_probability=0.5 if data.head == "multilabel" else 0)
    metrics = [PointingGame(4), MaskOverlap(), EnergyInMask(), InsertionDeletion(step=128), Reclassification()]
    further = ExplanationScores(methods, metrics)
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=1,
        logger=HTMLLogger(str(folder / out), kind),
        callbacks=[ExplanationGallery(methods, samples=4), scores, further],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.validate(module, datamodule=data, verbose=False)
    return scores.results | further.results


def score_fixed_maps(rank: int, ranks: int) -> dict[str, float]:
    """Scores of given maps of 13 images, dealt to the ranks one by one."""
    drawn = torch.rand(2, 13, 24, 24, generator=torch.Generator().manual_seed(0))
    own, metric = slice(rank, None, ranks), LocalizationScore()
    metric.update(drawn[0, own], drawn[1, own] > 0.7)
    return {part: float(value) for part, value in metric.compute().items()}


def train(watched: bool, folder: Path) -> dict:
    """What three epochs under all circumstances leave; compiled code has no part in who waits for whom."""
    runs = str(folder / ("watched" if watched else "alone"))
    loggers = [HTMLLogger(runs, "run"), RunFolderWandbLogger(runs, "run", offline=True)] if watched else False
    # One method of each kind: test_undisturbed.py has them all.
    given = EVERYTHING | {"compiled": None, "methods": ["gradcam", "scorecam", "guided_backprop", "rise"]}
    return fit(given, watched, f"{runs}/run", max_epochs=3, devices=2, strategy="ddp", logger=loggers)


def noting_what_is_written(folder: Path) -> list[str]:
    """Files and folders below ``folder`` that this process, which lives on with it, makes, changes or removes."""
    noted: list[str] = []

    def look(event: str, args: tuple) -> None:
        made = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
        written = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (made or written) and str(args[0]).startswith(str(folder)):
            noted.append(f"{event} {args[0]}")

    sys.addaudithook(look)
    return noted


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    noted = noting_what_is_written(folder)
    scores = {kind: validate(kind, folder, "two", 2) for kind in KINDS}
    fits = {"watched": train(True, folder), "alone": train(False, folder)}
    rank, written = int(os.environ["LOCAL_RANK"]), list(noted)
    fixed = score_fixed_maps(rank, 2)
    torch.save(fits, folder / f"fits{rank}.pt")
    (folder / f"rank{rank}.json").write_text(json.dumps({"scores": scores, "fixed": fixed, "written": written}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
