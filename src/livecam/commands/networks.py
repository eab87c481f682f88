"""Several networks side by side: which options belong together, and labels that tell the networks apart."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from livecam.core.errors import OptionError
from livecam.data.image_io import has_image_suffix
from livecam.evaluation.loaded_network import Network, NetworkOptions, load_network


@dataclass(kw_only=True)
class SeveralNetworks(NetworkOptions):
    """The same options, each of which takes one value or several.

    Args:
        checkpoint: Checkpoints of train.py, one or several.
        model: Networks by name instead, or beside them, such as torchvision/resnet50 or timm/convnext_tiny.
        weights: Weights of those networks, one for each or one for all: pretrained, another published name, or a file.
    """

    checkpoint: list[str] | None = None
    model: list[str] | None = None
    weights: list[str] | None = None


def load_networks(options: SeveralNetworks) -> list[Network]:
    """Load networks to be seen side by side, under labels (and slugs) that tell them apart.

    Raises:
        OptionError: When there is none, one is there twice, or weights and models do not pair up.
    """
    checkpoints, models, weights = options.checkpoint or [], options.model or [], options.weights or []
    for option, values in (("checkpoint", checkpoints), ("model", models), ("weights", weights)):
        _refuse_photos(option, values)
    if weights and not models:
        raise OptionError("--weights are those of --model; a checkpoint brings its own.")
    if len(weights) > 1 and len(weights) != len(models):
        raise OptionError(
            f"--model names {len(models)} networks and --weights {len(weights)}: give one for each model, in the same "
            "order, or one (such as pretrained) for all."
        )
    pairs = zip(models, weights if len(weights) > 1 else (list(weights) or [None]) * len(models))
    sources = [(checkpoint, None, None) for checkpoint in checkpoints] + [(None, *pair) for pair in pairs]
    for one in sources:
        if sources.count(one) > 1:
            raise OptionError(f"{one[0] or one[1]} is given twice: each network makes a column of its own.")
    settings = {"num_classes": options.num_classes, "image_size": options.image_size, "resize": options.resize}
    networks = [
        load_network(NetworkOptions(checkpoint=checkpoint, model=model, weights=weights_name, **settings))
        for checkpoint, model, weights_name in sources or [(None, None, None)]
    ]
    _set_apart(networks)
    return networks


def _refuse_photos(option: str, values: Sequence[str]) -> None:
    """Options of several values take all that follows them; say so where that was a photo."""
    for value in values if len(values) > 1 else ():
        picture = has_image_suffix(value)
        if picture or (option != "model" and Path(value).is_dir()):
            raise OptionError(
                f"{value} is a {'picture' if picture else 'folder'}, but --{option} takes all that follows it: put the "
                f"photos first, as in maps photo.jpg folder/ --{option} ..."
            )


def _set_apart(networks: list[Network]) -> None:
    """Add to labels that are alike what tells them apart: the run, with the file, and at last a number."""
    for words in (1, 2, 3):
        count = Counter(network.slug for network in networks)
        for number, network in enumerate(networks, 1):
            if count[network.slug] > 1:
                origin = [_run(network.source), Path(network.source).stem, str(number)][:words]
                network.mark = " ".join(dict.fromkeys(origin))


def _run(source: str) -> str:
    """Name of the run folder that a checkpoint lies in; of weights, their own."""
    path = Path(source)
    if path.suffix != ".ckpt":
        return path.stem
    return (path.parent.parent if path.parent.name == "checkpoints" else path.parent).resolve().name
