"""AnnotatedPhotos: photos whose labels and boxes are listed in one file, to score trained networks on."""

import os
from typing import Any

from livecam.core.errors import DataError, MissingFileError
from livecam.data.annotation_files import boxes_of, malformed, read_json, size_of
from livecam.data.folder import check_inside, check_root
from livecam.data.photo_datamodule import FileIndex, PhotoData
from livecam.data.photo_dataset import Photo

# The greatest label says how many classes there are: one slip must not make billions.
_MOST_CLASSES = 1_000_000


class AnnotatedPhotos(PhotoData):
    """Photos in ``root`` or in ``root/images``, labeled by ``root/annotations.json``; all of them are for validation.

    The file maps the path of each photo to a dict with ``label`` (class index), and perhaps ``name`` (of the class),
    ``boxes`` (a list of ``[x1, y1, x2, y2]`` in pixels of the stored file) and the file's ``width`` and ``height``.
    Photos without boxes count as not annotated.

    Args:
        root: Folder of the photos.
        num_classes: How many classes there are; None takes the greatest label and one.
        **kwargs: See :class:`livecam.data.photo_datamodule.PhotoData`.
    """

    def __init__(self, root: str, num_classes: int | None = None, **kwargs: Any) -> None:
        self._classes = num_classes
        super().__init__(root, **kwargs)

    def find(self, root: str) -> FileIndex:
        """List the photos with labels and boxes, in the order of their paths."""
        check_root(root, "annotations.json and photos")
        path = os.path.join(root, "annotations.json")
        if not os.path.exists(path):
            raise MissingFileError(f"There is no {path}: it maps the path of each photo to its label and boxes.")
        entries = read_json(path, root, None)
        if not isinstance(entries, dict) or not entries:
            raise malformed(path, "it should map paths of photos to dicts")
        folder = "images/" if os.path.isdir(os.path.join(root, "images")) else ""
        photos = [_photo(f"{folder}{name}", entry, path, root) for name, entry in sorted(entries.items())]
        count = self._classes or max(2, 1 + max(photo.label for photo in photos))
        if wrong := next((photo for photo in photos if photo.label >= count), None):
            raise DataError(f"{path} gives {wrong.path} label {wrong.label}, but there are {count} classes.")
        names = {entry["label"]: str(entry["name"]) for entry in entries.values() if "name" in entry}
        return FileIndex([names.get(index, f"class {index}") for index in range(count)], None, photos)


def _photo(name: str, entry: Any, path: str, root: str) -> Photo:
    label = entry.get("label") if isinstance(entry, dict) else None
    if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < _MOST_CLASSES:
        raise malformed(path, f"{name!r} should have a label, a class index from 0")
    if not os.path.isfile(os.path.join(root, name)):
        raise MissingFileError(f"{path} names {name}, which is not there: photos lie beside it or in images/.")
    check_inside(os.path.join(root, name), root)
    return Photo(name, label, boxes_of(entry, path, name), size_of(entry, path, name))
