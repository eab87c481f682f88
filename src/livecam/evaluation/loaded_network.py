"""The network that a command explains, with all that is needed to show it a photo."""

import re
from dataclasses import dataclass
from typing import Literal

from PIL import Image
from torch import Tensor, nn

from livecam.core.errors import OptionError
from livecam.core.normalization import IMAGENET, Normalization
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
        normalization: Tie between pixels and model input.
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
    normalization: Normalization
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
        return prepare_image(photo, self.image_size, self.resize, self.normalization.mean, self.normalization.std)

    def class_index(self, target: str | None) -> int | None:
        """Index of a class that is given by name or by index; None stays None.

        Raises:
            OptionError: When this network has no such class.
        """
        if target is None:
            return None
        if target.isdecimal():
            if int(target) >= self.num_classes:
                raise OptionError(
                    f"Class {target} is out of range: {self.label} has {self.num_classes} classes, "
                    f"0 to {self.num_classes - 1}."
                )
            return int(target)
        names = self.class_names or []
        if target not in names:
            raise OptionError(f"{self.label} has no class {target!r}.{suggest(target, names)} An index works too.")
        return names.index(target)


@dataclass(kw_only=True)
class NetworkOptions:
    """Options that name a network.

    Args:
        checkpoint: Checkpoint of train.py.
        model: Network by name instead, such as torchvision/resnet50 or timm/convnext_tiny.
        weights: Weights of --model: pretrained, another published name, or a file.
        num_classes: Outputs of --model.
        image_size: Input size of --model.
        resize: How photos are brought to that size for --model: crop (center) or stretch (whole photo).
    """

    checkpoint: str | None = None
    model: str | None = None
    weights: str | None = None
    num_classes: int = 1000
    image_size: int = 224
    resize: Literal["crop", "stretch"] = "crop"


def load_network(options: NetworkOptions) -> Network:
    """Take a network from a checkpoint, which knows its own preprocessing, or build one with ImageNet's.

    Raises:
        OptionError: When neither or both of ``checkpoint`` and ``model`` are given, or ``model`` has no weights.
    """
    check_count("image_size", options.image_size)
    if (options.checkpoint is None) == (options.model is None):
        raise OptionError("Say what to explain: either --checkpoint FILE, or --model NAME with --weights.")
    if options.checkpoint is not None:
        classifier = load_classifier(options.checkpoint)
        hparams = classifier.hparams
        return Network(
            model=classifier,
            head=classifier.head.name,
            **{name: hparams[name] for name in ("num_classes", "class_names", "image_size", "resize")},
            normalization=Normalization(hparams.mean, hparams.std),
            kind=hparams.model + _ABLATED.get((hparams.model_args or {}).get("skips"), ""),
            source=options.checkpoint,
        )
    if options.weights is None:
        raise OptionError(
            f"--model {options.model} would have random weights: add --weights pretrained, or --weights FILE where "
            "nothing can be downloaded."
        )
    return Network(
        model=build_model(options.model, options.num_classes, options.weights).eval(),
        head="binary" if options.num_classes == 1 else "softmax",
        num_classes=max(options.num_classes, 2),
        class_names=_imagenet_names() if options.num_classes == 1000 else None,
        image_size=options.image_size,
        resize=options.resize,
        normalization=IMAGENET,
        kind=options.model,
        source=options.weights,
    )


def _imagenet_names() -> list[str]:
    from torchvision.models import ResNet18_Weights

    return ResNet18_Weights.DEFAULT.meta["categories"]
