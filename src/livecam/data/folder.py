"""ImageFolderData: a folder for each class; and how folders are searched for photos without leaving their root."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from livecam.core.errors import DataError, MissingFileError
from livecam.data.image_io import SUFFIXES, has_image_suffix, is_hidden
from livecam.data.photo_datamodule import FileIndex, PhotoData
from livecam.data.photo_dataset import Photo
from livecam.data.splits import stratified_split

logger = logging.getLogger(__name__)

# What people call the parts of a divided data set, rightly or not.
_PARTS = {"train", "val", "test", "training", "valid", "validation", "testing", "dev"}


class ImageFolderData(PhotoData):
    """One folder of photos for each class; its name is the class's name.

    Either ``root/train/<class>/…`` and ``root/val/<class>/…`` (``root/test/<class>/…`` is optional), or
    ``root/<class>/…``, of which ``val_fraction`` is held out. Photos may lie deeper inside a class's folder; hidden
    files are ignored. Arguments are those of :class:`livecam.data.photo_datamodule.PhotoData`.
    """

    def find(self, root: str) -> FileIndex:
        """List the photos of either layout."""
        check_root(root, "a folder for each class, or train/ and val/ with a folder for each class")
        names = set(_folders(root))
        if names >= {"train", "val"}:
            return self._divided(root, names)
        if names and (names <= _PARTS or len(names & _PARTS) > 1):
            raise DataError(
                f"{root} holds {_listed(names)}, but a divided data set needs train/ and val/: rename or add the "
                "missing one, or give the folder that holds the classes as root."
            )
        classes = _classes(root, root)
        photos = find_photos(root, classes)
        train, val = stratified_split(photos, classes, self.val_fraction, self.seed)
        return FileIndex(classes, train, val)

    def _divided(self, root: str, names: set[str]) -> FileIndex:
        parts = [part for part in ("train", "val", "test") if part in names]
        classes = _classes(os.path.join(root, "train"), root)
        for part in parts[1:]:
            others = _classes(os.path.join(root, part), root)
            if others != classes:
                raise DataError(
                    f"train/ and {part}/ in {root} must hold the same classes: only in train/ "
                    f"{_listed(set(classes) - set(others))}; only in {part}/ {_listed(set(others) - set(classes))}."
                )
        return FileIndex(classes, **{part: find_photos(root, classes, part) for part in parts})


def check_root(root: str, expected: str) -> None:
    """Refuse a root that is not a folder.

    Raises:
        MissingFileError: Says what was ``expected`` there.
    """
    if not os.path.isdir(root):
        what = "is a file" if os.path.exists(root) else "does not exist"
        raise MissingFileError(f"The data folder {root} {what}: root should be a folder that holds {expected}.")


def report_missing(root: str, findings: list[str], allow: bool) -> None:
    """Refuse a data set that lacks something, or say in the log what it lacks.

    Args:
        root: Folder of the data set.
        findings: One clause for each.
        allow: Whether to go on without.

    Raises:
        DataError: With all findings, and what to do.
    """
    if not findings:
        return
    # One paragraph: the command line keeps one line of an error.
    report = f"The data in {root} are not complete: {'; '.join(findings)}."
    if not allow:
        raise DataError(f"{report} Copy what is missing, or go on with what is there by --data.allow_incomplete true.")
    logger.warning("%s What is there is used.", report)


def check_inside(path: str, root: str) -> None:
    """Refuse a path that a link takes out of the root.

    Raises:
        DataError: Names the path and where it leads.
    """
    target = os.path.realpath(path)
    if not Path(target).is_relative_to(root):
        raise DataError(
            f"{path} is a link that leaves the data folder (to {target}): copy the files into {root}, or give the "
            "folder that really holds them as root."
        )


def find_photos(root: str, classes: list[str], part: str = "") -> list[Photo]:
    """All photos in the folders ``root/part/<class>``, ordered by class and path.

    Files of other kinds are left out and counted in the log.

    Raises:
        DataError: When a class has no photo, or a link leaves the root or leads in a circle.
    """
    photos, ignored = [], Counter()
    for label, name in enumerate(classes):
        before = len(photos)
        for path in files(os.path.join(root, part, name), root):
            if has_image_suffix(path):
                photos.append(Photo(Path(path).relative_to(root).as_posix(), label))
            else:
                ignored[os.path.splitext(path)[1].lower() or "no suffix"] += 1
        if len(photos) == before:
            raise DataError(
                f"The class folder {os.path.join(root, part, name)} holds no image ({', '.join(SUFFIXES)}): add some, "
                "or remove the folder."
            )
    if ignored:
        kinds = ", ".join(f"{count} of {suffix}" for suffix, count in sorted(ignored.items()))
        logger.warning("Left out files in %s that are not images: %s.", os.path.join(root, part), kinds)
    return photos


def files(folder: str, root: str, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Files below a folder in the order of their names, without hidden ones."""
    here = os.path.realpath(folder)
    if here in above:
        raise DataError(f"{folder} is a link to a folder that holds it: remove the link.")
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if is_hidden(entry.name):
            continue
        if entry.is_symlink():
            check_inside(entry.path, root)
        if is_folder(entry):
            yield from files(entry.path, root, above | {here})
        elif not is_file(entry) and os.path.exists(entry.path):
            raise DataError(f"{entry.path} is a pipe or a device, which no data set holds: remove it.")
        else:
            yield entry.path


def is_file(entry: os.DirEntry) -> bool:
    """Whether an entry is a file, or a link to one; known of most without asking the disk."""
    return os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file()


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder, or a link to one; a link to itself is none, of which entries raise an error."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _folders(folder: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if is_folder(entry) and not is_hidden(entry.name))


def _classes(folder: str, root: str) -> list[str]:
    """Names of the class folders in ``folder``; at least two."""
    names = _folders(folder)
    for path in (folder, *(os.path.join(folder, name) for name in names)):
        check_inside(path, root)
    if not names:
        raise DataError(f"{folder} holds no folder: put the images of each class into a folder of its own there.")
    if len(names) == 1:
        raise DataError(
            f"{folder} holds a single folder, {names[0]!r}, but a classifier needs two classes: add one, or give "
            f"{os.path.join(folder, names[0])} as root if the classes are in there."
        )
    return names


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)[:10]) + (", …" if len(names) > 10 else "") if names else "none"
