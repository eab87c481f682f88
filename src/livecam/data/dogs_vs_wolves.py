"""DogsVsWolves: two classes for a one-logit network, with boxes for some photos and near duplicates kept together."""

import logging
import os

from livecam.core.errors import MissingFileError
from livecam.data.annotation_files import boxes_of, malformed, read_json, size_of
from livecam.data.folder import check_inside, check_root, find_photos
from livecam.data.photo_datamodule import FileIndex, PhotoData
from livecam.data.photo_dataset import Photo
from livecam.data.splits import stratified_split

logger = logging.getLogger(__name__)


class DogsVsWolves(PhotoData):
    """Photos in ``root/dogs`` (class 0) and ``root/wolves`` (class 1), of which ``val_fraction`` is held out.

    Two files beside the folders are optional. ``annotations.json`` maps a path such as ``dogs/rex.jpg`` to a dict that
    may hold ``boxes``, a list of ``[x1, y1, x2, y2]`` in pixels of the stored file, and the file's ``width`` and
    ``height``; photos without boxes count as not annotated. ``near_duplicates.json`` lists pairs of paths
    ``[a, b, …]`` that must not be divided between training and validation. Arguments are those of
    :class:`livecam.data.photo_datamodule.PhotoData`.
    """

    head = "binary"

    def find(self, root: str) -> FileIndex:
        """List the photos with their boxes and divide them."""
        classes = ["dogs", "wolves"]
        check_root(root, "the folders dogs/ and wolves/")
        for name in classes:
            folder = os.path.join(root, name)
            if not os.path.isdir(folder):
                raise MissingFileError(f"{root} should hold the folders dogs/ and wolves/, but {name}/ is missing.")
            check_inside(folder, root)
        photos = _annotated(find_photos(root, classes), root)
        train, val = stratified_split(photos, classes, self.val_fraction, self.seed, _near_duplicates(root))
        return FileIndex(classes, train, val)


def _annotated(photos: list[Photo], root: str) -> list[Photo]:
    path = os.path.join(root, "annotations.json")
    entries = read_json(path, root, {})
    if not isinstance(entries, dict):
        raise malformed(path, "it should map paths of images to dicts")
    result = []
    for photo in photos:
        entry = entries.pop(photo.path, {})
        if not isinstance(entry, dict):
            raise malformed(path, f"the entry of {photo.path!r} should be a dict")
        boxes, size = (read(entry, path, photo.path) for read in (boxes_of, size_of))
        result.append(Photo(photo.path, photo.label, boxes, size))
    if entries:
        logger.warning("%s names %d images that are not there, such as %s.", path, len(entries), min(entries))
    return result


def _near_duplicates(root: str) -> list[list[str]]:
    path = os.path.join(root, "near_duplicates.json")
    pairs = read_json(path, root, [])
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) >= 2 and all(isinstance(name, str) for name in pair[:2]) for pair in pairs
    ):
        raise malformed(path, "it should be a list of pairs of paths, [a, b]")
    return [pair[:2] for pair in pairs]
