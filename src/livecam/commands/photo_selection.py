"""A few photos out of many: as many that a network answers right as it answers wrong, of every true class."""

import random
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from livecam.commands.photos import find_photos, inputs_of, photo_batches
from livecam.core.errors import OptionError
from livecam.data.photo_datamodule import PhotoData
from livecam.evaluation.datasets import build_data, trained_on
from livecam.evaluation.loaded_network import Network
from livecam.runtime.inference import predict_proba
from livecam.runtime.progress import listed


def pick(
    photos: Sequence[Path], truth: Mapping[Path, str], network: Network, count: int, batch_size: int
) -> tuple[list[Path], str]:
    """Choose ``count`` photos answered right and ``count`` answered wrong per true class, fewer where there are fewer.

    Costs one forward of every photo whose class is known. The same photos give the same choice: of the wrong ones the
    first, of the right ones some that are spread evenly over their order.

    Args:
        photos: In order.
        truth: True class of those where it is known; the others are left out.
        network: On its device.
        count: How many of each kind.
        batch_size: Photos per pass.

    Returns:
        The choice, by true class in the network's order, the right ones first; and one line for people: how many
        photos were asked, the accuracy, and how many of each kind there were.

    Raises:
        OptionError: When none of the photos can be read.
    """
    labeled = [photo for photo in photos if photo in truth]
    names = network.class_names or []
    kinds: dict[tuple[str, bool], list[Path]] = {}
    predictions = _predicted(labeled, network, batch_size)
    for photo, prediction in predictions.items():
        kinds.setdefault((truth[photo], names[prediction] == truth[photo]), []).append(photo)
    total = len(predictions)
    chosen, remarks = [], []
    for name in (name for name in names if name in truth.values()):
        right, wrong = kinds.get((name, True), []), kinds.get((name, False), [])
        chosen += _spread(right, count) + wrong[:count]
        remarks.append(f"{name} {len(right)} right, {len(wrong)} wrong")
    hits = sum(len(group) for (_, right), group in kinds.items() if right)
    left_out = f" ({len(photos) - total} left out)" if total < len(photos) else ""
    return chosen, f"{total} photos classified{left_out}, accuracy {hits / total:.3f}: {'; '.join(remarks)}."


def _predicted(photos: Sequence[Path], network: Network, batch_size: int) -> dict[Path, int]:
    """Most probable class of every photo that can be read, in their order."""
    predictions: dict[Path, int] = {}
    for read in photo_batches("choosing", photos, [network], batch_size):
        predicted = predict_proba(network.model, inputs_of(read, network), network.head).argmax(1).tolist()
        predictions |= zip([photo.path for photo in read], predicted)
    return predictions


def _spread(items: list[Path], count: int) -> list[Path]:
    """At most ``count`` items at equal distances, the first among them."""
    if len(items) <= count:
        return items
    return [items[number * len(items) // count] for number in range(count)]


def classes_of(only: str, network: Network) -> set[int]:
    """Indices of classes that are written as names, indices and ranges."""
    classes: set[int] = set()
    for part in listed(only):
        ends = re.fullmatch(r"(\d+)-(\d+)", part)
        first, last = map(network.class_index, ends.groups() if ends else (part, part))
        classes |= set(range(first, last + 1))
    return classes


def choose_predicted(
    paths: Sequence[str], network: Network, classes: set[int], limit: int | None, batch_size: int
) -> tuple[list[Path], str]:
    """Photos that are predicted as wanted classes, in their order, and a line for people; one forward of each photo."""
    predictions = _predicted(find_photos(paths), network, batch_size)
    fitting = [photo for photo, prediction in predictions.items() if prediction in classes]
    if not fitting:
        raise OptionError(f"None of {len(predictions)} photos is predicted as one of the classes of --only.")
    # Drawn, because the first ones of a folder are often all of one kind; in turns, so that no path outweighs others.
    sources = [[photo for photo in find_photos([path]) if predictions.get(photo) in classes] for path in paths]
    turns = zip_longest(*(random.Random(0).sample(source, len(source)) for source in sources))
    chosen = set(list(dict.fromkeys(photo for turn in turns for photo in turn if photo))[:limit])
    remark = f"chosen among {len(fitting)}, {len(predictions) - len(fitting)} predicted otherwise left out"
    return [photo for photo in fitting if photo in chosen], remark


def true_classes(photos: Sequence[Path], network: Network) -> dict[Path, str]:
    """The true class of each photo whose folder bears the name of one of the network's classes.

    Raises:
        OptionError: When that is so for none of them.
    """
    names = network.class_names or []
    # Made absolute for a photo of the working directory; links are not followed, they may well be what gives classes.
    folders = {photo: photo.absolute().parent.name for photo in photos}
    truth = {photo: name for photo, name in folders.items() if name in names}
    if truth:
        return truth
    if not names:
        raise OptionError(f"{network.label} has no class names that folders could bear: leave out labels and pick.")
    examples = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    raise OptionError(
        f"No photo lies in a folder that is called like a class, so none has a known true class: {network.label} knows "
        f"{examples}."
    )


def photos_of(split: str, photos: Sequence[Path], checkpoint: str) -> tuple[list[Path], str]:
    """Those photos that a training kept in one split of its data, ``train``, ``val`` or ``test``.

    The division is made again from the configuration that training left in its run folder.

    Args:
        split: Which split.
        photos: What to choose from, in order.
        checkpoint: Path of a checkpoint in ``runs/<name>/checkpoints``.

    Returns:
        The photos, and one line for people that says how many they are.

    Raises:
        FileNotFoundError: When the run folder has no configuration, or the data are gone.
        OptionError: When the configuration names data that are not divided photos, or no photo belongs to the split.
    """
    data = _data_of(checkpoint)
    if split not in data.sets:
        raise OptionError(f"The training's data have no split {split}: use {', '.join(data.sets)}.")
    members = {(data.sets[split].root / photo.path).resolve() for photo in data.sets[split].photos}
    selected = [photo for photo in photos if photo.resolve() in members]
    if not selected:
        raise OptionError(
            f"None of the {len(photos)} photos is among the {len(members)} of split {split} in "
            f"{data.sets[split].root}: give photos of that folder, or leave out split."
        )
    return selected, f"{len(selected)} of {len(photos)} photos are in split {split} of the training's data."


def _data_of(checkpoint: str) -> PhotoData:
    """The data module of a training; only classes of livecam are built, whatever the file says."""
    name, arguments = trained_on(checkpoint, "leave out split")
    kinds = {kind.__name__: kind for kind in PhotoData.__subclasses__()}
    if name not in kinds:
        raise OptionError(f"The data were {name}, which divides no photos on disk: split is for {', '.join(kinds)}.")
    return build_data(kinds[name], arguments, "leave out split")
