"""Run by test_ddp.py in processes of its own: validate on one or two ranks and write what was logged."""

import json
import sys

import torch
from lightning import Trainer

from livecam.callbacks import ExplanationGallery, ExplanationScores
from livecam.classifier import Classifier
from livecam.data import Coco
from livecam.data.planted import PlantedShapes, PlantedShapesData
from livecam.explain import CAM, GradCAM
from livecam.metrics import EnergyInMask, InsertionDeletion, MaskOverlap, PointingGame, Reclassification
from livecam.report.html_logger import HTMLLogger


class Bare(PlantedShapes):
    """Samples without an index: padding has to be recognised by position."""

    def __getitem__(self, index):
        return {key: value for key, value in super().__getitem__(index).items() if key != "index"}


def main(devices: int, out: str, kind: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # 13 images: the last rank gets a repeated one.
    if kind in ("indexed", "bare"):
        data = PlantedShapesData(image_size=32, train_length=8, val_length=13, batch_size=3)
    else:
        data = Coco(kind, image_size=32, batch_size=3, num_workers=0, resize="stretch")
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
        logger=HTMLLogger(out, "page"),
        callbacks=[ExplanationGallery(methods, samples=4), scores, further],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.validate(module, datamodule=data, verbose=False)
    with open(f"{out}/rank{trainer.global_rank}.json", "w") as file:
        json.dump(scores.results | further.results, file)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
