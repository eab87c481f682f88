"""The network that a command explains, with all that is needed to show it a photo."""

import re
from dataclasses import dataclass
from typing import Literal

from PIL import Image
from torch import Tensor, nn

from livecam.core.normalization import IMAGENET, Normalisation
from livecam.core.validation import check_count, suggest
from livecam.data.transforms import prepare_image
from livecam.models import build_model
from livecam.training.checkpoint import load_classifier

_ABLATED = {"drop": ", no skips", "zero": ", skips zeroed"}


def as_slug(label: str) -> str:
    """A label as part of file names and keys: lower case letters, digits and underscores, at most 60."""
    slug = re.sub(r"\W+", "_", label.lower()).strip("_")
    # Both ends of a long one: what sets labels apart often comes last.
    return slug if len(slug) <= 60 else f"{slug[:30]}_{slug[-29:]}"


@dataclass
class Network:
    """A classifier and its preprocessing.

    Args:
        model: In eval mode.
        head: ``softmax``, ``binary`` or ``multilabel``.
        num_classes: How many classes it tells apart.
        class_names: In the order of class indices; None when unknown.
        image_size: Side of the model input in pixels.
        resize: ``crop`` or ``stretch``.
        normalisation: Tie between pixels and model input.
        kind: What people call networks like it, such as ``unet, no skips``.
        source: Where its weights come from: a file, or the name of published ones.
        mark: What tells it from others of its kind, where there are any.
    """

    model: nn.Module
    head: str
    num_classes: int
    class_names: list[str] | None
    image_size: int
    resize: Literal["crop", "stretch"]
    normalisation: Normalisation
    kind: str
    source: str
    mark: str = ""

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.kind} ({self.mark})" if self.mark else self.kind

    @property
    def slug(self) -> str:
        """The label as part of file names and keys: lower case letters, digits and underscores."""
        return as_slug(self.label)

    def prepare(self, photo: Image.Image) -> Tensor:
        """Model input ``(3, S, S)`` of an RGB photo."""
        return prepare_image(photo, self.image_size, self.resize, self.normalisation.mean, self.normalisation.std)

    def class_index(self, target: str | None) -> int | None:
        """Index of a class that is given by name or by index; None stays None.

        Raises:
            ValueError: When this network has no such class.
        """
        if target is None:
            return None
        if target.isdecimal():
            if int(target) >= self.num_classes:
                raise ValueError(
                    f"Class {target} is out of range: {self.label} has {self.num_classes} classes, "
                    f"0 to {self.num_classes - 1}."
                )
            return int(target)
        names = self.class_names or []
        if target not in names:
            raise ValueError(f"{self.label} has no class {target!r}.{suggest(target, names)} An index works too.")
        return names.index(target)


def load_network(
    checkpoint: str | None, model: str | None, weights: str | None, num_classes: int, image_size: int, resize: str
) -> Network:
    """Take a network from a checkpoint of ``train.py``, or build one with ImageNet's preprocessing.

    Args:
        checkpoint: Path of a checkpoint; it knows its own preprocessing.
        model: Name of a network instead.
        weights: Its weights: a published name or a local file.
        num_classes: Outputs of ``model``.
        image_size: Side of the input of ``model``.
        resize: How photos are brought to that size for ``model``.

    Raises:
        ValueError: When neither or both of ``checkpoint`` and ``model`` are given, or ``model`` has no weights.
    """
    check_count("image_size", image_size)
    if (checkpoint is None) == (model is None):
        raise ValueError("Say what to explain: either --checkpoint FILE, or --model NAME with --weights.")
    if checkpoint is not None:
        classifier = load_classifier(checkpoint)
        known = classifier.hparams
        return Network(
            classifier,
            classifier.head.name,
            known.num_classes,
            known.class_names,
            known.image_size,
            known.resize,
            Normalisation(known.mean, known.std),
            known.model + _ABLATED.get((known.model_args or {}).get("skips"), ""),
            checkpoint,
        )
    if weights is None:
        raise ValueError(
            f"--model {model} would have random weights: add --weights pretrained, or --weights FILE where nothing "
            "can be downloaded."
        )
    net = build_model(model, num_classes, weights).eval()
    return Network(
        net,
        "binary" if num_classes == 1 else "softmax",
        max(num_classes, 2),
        _imagenet_names() if num_classes == 1000 else None,
        image_size,
        resize,
        IMAGENET,
        model,
        weights,
    )


def _imagenet_names() -> list[str]:
    from torchvision.models import ResNet18_Weights

    return ResNet18_Weights.DEFAULT.meta["categories"]
