"""Dividing a data set in two: the same way every time, class by class, with near duplicates kept together."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from livecam.core.errors import OptionError
from livecam.data.photo_dataset import Photo


def stratified_split(
    photos: Sequence[Photo],
    classes: Sequence[str],
    fraction: float,
    seed: int,
    duplicates: Iterable[Sequence[str]] = (),
) -> tuple[list[Photo], list[Photo]]:
    """Hold out a share of every class; depends on the arguments alone.

    Args:
        photos: What to divide.
        classes: Class names in the order of labels.
        fraction: Share of each class to hold out, in (0, 1); at least one image of each class lands on either side.
        seed: Another seed holds out other photos.
        duplicates: Tuples of paths that show (nearly) the same picture; linked paths stay on one side.

    Returns:
        The larger and the held-out part, each in the order of ``photos``.

    Raises:
        OptionError: When the fraction is out of range, or a class cannot be divided.
    """
    _check_fraction(fraction)
    # A family of two classes counts for the class of its first photo.
    by_class: dict[int, list[list[Photo]]] = {}
    for family in _families(photos, duplicates):
        by_class.setdefault(family[0].label, []).append(family)
    held_out: set[str] = set()
    for label, families in by_class.items():
        random.Random(f"{seed}-{label}").shuffle(families)
        held_out.update(photo.path for family in _choose(families, fraction) for photo in family)
    train = [photo for photo in photos if photo.path not in held_out]
    held = [photo for photo in photos if photo.path in held_out]

    counts, on_both = Counter(photo.label for photo in photos), {p.label for p in train} & {p.label for p in held}
    for label, name in enumerate(classes):
        if label not in on_both:
            what = "a single image" if counts[label] == 1 else f"{counts[label]} images that must stay together"
            raise OptionError(
                f"Class {name!r} has {what}, but training and validation each need one: add images or remove the class."
            )
    return train, held


def random_split(photos: Sequence[Any], fraction: float, seed: int) -> tuple[list[Any], list[Any]]:
    """Hold out a share of photos that have no single class; depends on the arguments alone.

    Args:
        photos: What to divide, at least two.
        fraction: Share to hold out, in (0, 1); at least one image lands on either side.
        seed: Another seed holds out other photos.

    Returns:
        The larger and the held-out part, each in the order of ``photos``.

    Raises:
        OptionError: When the fraction is out of range, or there is a single photo.
    """
    _check_fraction(fraction)
    if len(photos) < 2:
        raise OptionError("There is a single image, but training and validation each need one: add images.")
    places = list(range(len(photos)))
    random.Random(seed).shuffle(places)
    held_out = set(places[: max(1, min(len(photos) - 1, round(fraction * len(photos))))])
    train = [photo for place, photo in enumerate(photos) if place not in held_out]
    return train, [photos[place] for place in sorted(held_out)]


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise OptionError(f"val_fraction is the share of images held out, between 0 and 1, got {fraction}.")


def _choose(families: list[list[Photo]], fraction: float) -> list[list[Photo]]:
    """Families for the held-out side of one class: as many as fit into its share, at least the smallest."""
    total = sum(map(len, families))
    room = max(1, min(total - 1, round(fraction * total)))
    chosen = []
    for family in families:
        if len(family) <= room:
            chosen.append(family)
            room -= len(family)
    return chosen or [min(families, key=len)]


def _families(photos: Sequence[Photo], duplicates: Iterable[Sequence[str]]) -> list[list[Photo]]:
    """Photos grouped by chains of duplicates (union-find), in the order of their first members."""
    parent: dict[str, str] = {}

    def representative(path: str) -> str:
        while (above := parent.get(path, path)) != path:
            path = above
        return path

    for first, *others in duplicates:
        for other in others:
            parent[representative(other)] = representative(first)
    families: dict[str, list[Photo]] = {}
    for photo in photos:
        families.setdefault(representative(photo.path), []).append(photo)
    return list(families.values())
