"""The network that a command explains, with all that is needed to show it a photo."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from livecam.checkpoint import load_classifier
from livecam.data.images import read_image
from livecam.data.transforms import prepare_image
from livecam.models import build_model
from livecam.normalisation import IMAGENET, Normalisation


@dataclass
class Network:
    """A classifier and its preprocessing.

    Args:
        model: In eval mode.
        head: ``softmax``, ``binary`` or ``multilabel``.
        class_names: In the order of class indices; None when unknown.
        image_size: Side of the model input in pixels.
        resize: ``crop`` or ``stretch``.
        normalisation: Tie between pixels and model input.
    """

    model: nn.Module
    head: str
    class_names: list[str] | None
    image_size: int
    resize: Literal["crop", "stretch"]
    normalisation: Normalisation

    def read(self, path: str) -> Tensor:
        """Model input ``(3, S, S)`` of one photo."""
        return prepare_image(
            read_image(path), self.image_size, self.resize, self.normalisation.mean, self.normalisation.std
        )


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
    if (checkpoint is None) == (model is None):
        raise ValueError("Say what to explain: either --checkpoint FILE, or --model NAME with --weights.")
    if checkpoint is not None:
        classifier = load_classifier(checkpoint)
        known = classifier.hparams
        return Network(
            classifier,
            classifier.head.name,
            known.class_names,
            known.image_size,
            known.resize,
            Normalisation(known.mean, known.std),
        )
    if weights is None:
        raise ValueError(
            f"--model {model} would have random weights: add --weights pretrained, or --weights FILE where nothing "
            "can be downloaded."
        )
    net = build_model(model, num_classes, weights).eval()
    head = "binary" if num_classes == 1 else "softmax"
    return Network(net, head, _imagenet_names() if num_classes == 1000 else None, image_size, resize, IMAGENET)


def _imagenet_names() -> list[str]:
    from torchvision.models import ResNet18_Weights

    return ResNet18_Weights.DEFAULT.meta["categories"]
