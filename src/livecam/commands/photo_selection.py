"""A few photos out of many: as many that a network answers right as it answers wrong, of every true class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from livecam.commands.photos import inputs_of, read_photos
from livecam.evaluation.loaded_network import Network
from livecam.metrics.asking import probabilities
from livecam.runtime.common import progress


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
        ValueError: When none of the photos can be read.
    """
    known = [photo for photo in photos if photo in truth]
    names = network.class_names or []
    kinds: dict[tuple[str, bool], list[Path]] = {}
    for chunk in progress("choosing", [(photo, photo.stem) for photo in known], batch_size):
        if read := read_photos(chunk, [network]):
            predicted = probabilities(network.model, inputs_of(read, network), network.head).argmax(1).tolist()
            for photo, answer in zip(read, predicted):
                right = names[answer] == truth[photo.path]
                kinds.setdefault((truth[photo.path], right), []).append(photo.path)
    asked = sum(map(len, kinds.values()))
    if not asked:
        raise ValueError(f"None of the {len(known)} photos could be read.")
    chosen, told = [], []
    for name in (name for name in names if name in truth.values()):
        right, wrong = kinds.get((name, True), []), kinds.get((name, False), [])
        chosen += _spread(right, count) + wrong[:count]
        told.append(f"{name} {len(right)} right, {len(wrong)} wrong")
    hits = sum(len(group) for (_, right), group in kinds.items() if right)
    left_out = f" ({len(photos) - asked} left out)" if asked < len(photos) else ""
    return chosen, f"{asked} photos asked{left_out}, accuracy {hits / asked:.3f}: {'; '.join(told)}."


def _spread(items: list[Path], count: int) -> list[Path]:
    """At most ``count`` items at equal distances, the first among them."""
    if len(items) <= count:
        return items
    return [items[number * len(items) // count] for number in range(count)]
