"""What tests of ``explain.py score`` share: a command line, its results, and the images behind them."""

import csv
import json
from contextlib import contextmanager
from pathlib import Path

import torch
from torchvision.transforms import v2

from livecam import cli
from livecam.data.planted import PlantedShapes
from livecam.training.classifier import Classifier

CHECKPOINT = "runs/full/checkpoints/last.ckpt"
CPU = ["--trainer.accelerator", "cpu"]
PLANTED = ["--data", "PlantedShapesData", "--data.image_size", "32", "--data.val_length", "12", *CPU]
LOCALIZATION = ["--metrics", "localization"]


def rows_of(path: str | Path) -> dict[tuple[int, str], dict[str, str]]:
    """Rows of a scores.csv by image and method; none may be there twice."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(int(row["index"]), row["method"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def score(*args: str, out: str = "scores") -> dict[tuple[int, str], dict[str, str]]:
    cli.explain(["score", "--checkpoint", CHECKPOINT, "--out", out, *args])
    return rows_of(f"{out}/scores.csv")


def summary(out: str = "scores") -> dict:
    def no_constant(word: str):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(Path(out, "summary.json").read_text(), parse_constant=no_constant)


def planted(length: int = 12) -> PlantedShapes:
    """The validation images, as model input."""
    return PlantedShapes(length, 4, 32, "val", transform=v2.Normalize([0.5] * 3, [0.25] * 3))


@contextmanager
def images_asked(known: PlantedShapes):
    """Collects, for every pass of a whole classifier, which of the known images it was shown (None for any other)."""
    asked = []
    sums = [float(known[index]["image"].double().sum()) for index in range(len(known))]

    def look(module, arguments):
        if isinstance(module, Classifier):
            for image in arguments[0]:
                near = [index for index, total in enumerate(sums) if abs(total - float(image.double().sum())) < 1e-6]
                asked.append(near[0] if near else None)

    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield asked
    finally:
        hook.remove()
