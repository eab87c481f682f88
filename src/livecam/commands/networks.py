"""Several networks side by side: which options belong together, and labels that tell the networks apart."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from livecam.data.image_io import has_image_suffix
from livecam.evaluation.loaded_network import Network, load_network


def load_networks(
    checkpoints: Sequence[str],
    models: Sequence[str],
    weights: Sequence[str],
    num_classes: int,
    image_size: int,
    resize: str,
) -> list[Network]:
    """Load networks to be seen side by side, under labels (and slugs) that tell them apart.

    Args:
        checkpoints: See :func:`load_network`.
        models: See :func:`load_network`; they come after the checkpoints.
        weights: One for each model, in their order, or one for all.
        num_classes: Outputs of each of ``models``.
        image_size: Side of the input of each of ``models``.
        resize: How photos are brought to that size for ``models``.

    Raises:
        ValueError: When there is none, one is there twice, or weights and models do not pair up.
    """
    for option, values in (("checkpoint", checkpoints), ("model", models), ("weights", weights)):
        _refuse_photos(option, values)
    if weights and not models:
        raise ValueError("--weights are those of --model; a checkpoint brings its own.")
    if len(weights) > 1 and len(weights) != len(models):
        raise ValueError(
            f"--model names {len(models)} networks and --weights {len(weights)}: give one for each model, in the same "
            "order, or one (such as pretrained) for all."
        )
    pairs = zip(models, weights if len(weights) > 1 else (list(weights) or [None]) * len(models))
    wanted = [(checkpoint, None, None) for checkpoint in checkpoints] + [(None, *pair) for pair in pairs]
    for one in wanted:
        if wanted.count(one) > 1:
            raise ValueError(f"{one[0] or one[1]} is given twice: each network makes a column of its own.")
    settings = num_classes, image_size, resize
    networks = [load_network(*one, *settings) for one in wanted or [(None, None, None)]]
    _set_apart(networks)
    return networks


def _refuse_photos(option: str, values: Sequence[str]) -> None:
    """Options of several values take all that follows them; say so where that was a photo."""
    for value in values if len(values) > 1 else ():
        picture = has_image_suffix(value)
        if picture or (option != "model" and Path(value).is_dir()):
            raise ValueError(
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
