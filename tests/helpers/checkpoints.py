"""Checkpoints without a training: tiny U-Nets as training would save them; importable like `toys`."""

from pathlib import Path

import torch

from helpers.toys import build
from livecam.training.classifier import Classifier

SHAPES = ["disc", "triangle", "cross", "ring"]


def save_unet(path: Path, seed: int = 0, class_names=SHAPES, skips: str = "concat", **settings) -> str:
    """Save an untrained U-Net for images of 32 px at ``path`` and return the path as a command line takes it."""
    defaults = {"image_size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3, "resize": "stretch"}
    shape = {"width": 4, "depth": 1, "skips": skips}
    classifier = build(
        Classifier,
        "unet",
        len(class_names),
        seed=seed,
        model_args=shape,
        class_names=class_names,
        **defaults | settings,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": classifier.state_dict(), "hyper_parameters": dict(classifier.hparams)}, path)
    return str(path)
