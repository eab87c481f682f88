"""DogsVsWolves: two classes for a one-logit network, with boxes for some photos and near duplicates kept together."""

import json
import logging
import math
import os
from typing import Any

from livecam.data.folder import check_inside, check_root, find_photos
from livecam.data.module import Catalogue, PhotoData
from livecam.data.sample import Box, Photo
from livecam.data.splits import stratified_split

logger = logging.getLogger(__name__)


class DogsVsWolves(PhotoData):
    """Photos in ``root/dogs`` (class 0) and ``root/wolves`` (class 1), of which ``val_fraction`` is held out.

    Two files beside the folders are optional. ``annotations.json`` maps a path such as ``dogs/rex.jpg`` to a dict that
    may hold ``boxes``, a list of ``[x1, y1, x2, y2]`` in pixels of the stored file, and the file's ``width`` and
    ``height``; photos without boxes count as not annotated. ``near_duplicates.json`` lists pairs of paths
    ``[a, b, …]`` that must not be divided between training and validation. Arguments are those of
    :class:`livecam.data.module.PhotoData`.
    """

    head = "binary"

    def find(self, root: str) -> Catalogue:
        """List the photos with their boxes and divide them."""
        classes = ["dogs", "wolves"]
        check_root(root, "the folders dogs/ and wolves/")
        for name in classes:
            folder = os.path.join(root, name)
            if not os.path.isdir(folder):
                raise FileNotFoundError(f"{root} should hold the folders dogs/ and wolves/, but {name}/ is missing.")
            check_inside(folder, root)
        photos = _annotated(find_photos(root, classes), root)
        train, val = stratified_split(photos, classes, self.val_fraction, self.seed, _near_duplicates(root))
        return Catalogue(classes, train, val)


def _annotated(photos: list[Photo], root: str) -> list[Photo]:
    path = os.path.join(root, "annotations.json")
    entries = _read_json(path, root, {})
    if not isinstance(entries, dict):
        raise _malformed(path, "it should map paths of images to dicts")
    result = []
    for photo in photos:
        entry = entries.pop(photo.path, {})
        if not isinstance(entry, dict):
            raise _malformed(path, f"the entry of {photo.path!r} should be a dict")
        result.append(Photo(photo.path, photo.label, _boxes(entry, path, photo.path), _size(entry, path, photo.path)))
    if entries:
        logger.warning("%s names %d images that are not there, such as %s.", path, len(entries), min(entries))
    return result


def _boxes(entry: dict[str, Any], path: str, name: str) -> tuple[Box, ...] | None:
    boxes = entry.get("boxes") or ()
    if not isinstance(boxes, list | tuple) or not all(_is_box(box) for box in boxes):
        raise _malformed(path, f"each box of {name!r} should be [x1, y1, x2, y2] with x1 < x2 and y1 < y2, in pixels")
    return tuple(tuple(map(float, box)) for box in boxes) or None


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(edge, int | float) and math.isfinite(edge) for edge in box)
        and box[0] < box[2]
        and box[1] < box[3]
    )


def _size(entry: dict[str, Any], path: str, name: str) -> tuple[int, int] | None:
    size = entry.get("width"), entry.get("height")
    if size == (None, None):
        return None
    if not all(isinstance(side, int) and side > 0 for side in size):
        raise _malformed(path, f"width and height of {name!r} should both be whole numbers of pixels")
    return size


def _near_duplicates(root: str) -> list[list[str]]:
    path = os.path.join(root, "near_duplicates.json")
    pairs = _read_json(path, root, [])
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) >= 2 and all(isinstance(name, str) for name in pair[:2]) for pair in pairs
    ):
        raise _malformed(path, "it should be a list of pairs of paths, [a, b]")
    return [pair[:2] for pair in pairs]


def _read_json(path: str, root: str, default: Any) -> Any:
    if not os.path.exists(path):
        return default
    check_inside(path, root)
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"it is not JSON ({error})") from error


def _malformed(path: str, why: str) -> ValueError:
    return ValueError(f"{path} is malformed: {why}; correct or remove the file.")
