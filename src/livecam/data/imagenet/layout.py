"""Folders of ILSVRC2012 as people have them: which there are, what they lack, and the images in them."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from livecam.core.errors import DataError, MissingFileError
from livecam.data.folder import check_inside, files, is_folder
from livecam.data.image_io import has_image_suffix, is_hidden
from livecam.data.photo_dataset import Photo, some

logger = logging.getLogger(__name__)

# Where train/ and val/ lie: in the root, or as Kaggle's archive has them.
_BASES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
_APPENDED = re.compile(r"(ILSVRC2012_val_\d{8})_n\d{8}")
# Files that may lie beside the images and are none.
_BESIDE = (".txt", ".csv", ".mat", ".xml")


def base_of(root: str) -> str:
    """The folder that holds ``val/``, and ``train/`` where there is one.

    Raises:
        MissingFileError: When there is no ``val/``.
    """
    for base in _BASES:
        if os.path.isdir(os.path.join(root, base, "val")):
            return os.path.join(root, base).rstrip(os.sep)
    raise MissingFileError(
        f"{root} should hold val/, or Kaggle's ILSVRC/Data/CLS-LOC/val/, with the validation images of ILSVRC2012, but "
        "it does not: give the folder that does as root."
    )


def class_folders(folder: str, root: str, classes: Mapping[str, str]) -> list[str]:
    """Names of the class folders in ``train/`` or ``val/``, in order; none of them leaves the root.

    Args:
        folder: Either part.
        root: Folder of the data set.
        classes: WordNet ids -> names of the classes.

    Raises:
        DataError: When one is no class of ILSVRC2012, or a link leaves the root.
    """
    check_inside(folder, root)
    entries = [entry for entry in os.scandir(folder) if is_folder(entry) and not is_hidden(entry.name)]
    for entry in entries:
        if entry.is_symlink():
            check_inside(entry.path, root)
    names = sorted(entry.name for entry in entries)
    if unknown := [name for name in names if name not in classes]:
        raise DataError(
            f"{folder} holds folders that are no classes of ILSVRC2012: {some(unknown)}.{_near(unknown, classes)} "
            "Folders bear WordNet ids such as n01440764: rename or remove these, or use ImageFolderData for photos of "
            "other classes."
        )
    return names


def _near(unknown: list[str], classes: Mapping[str, str]) -> str:
    """What the first unknown folder that resembles a class could have meant."""
    wnids = {name.lower(): wnid for wnid, name in classes.items()} | {wnid: wnid for wnid in classes}
    for name in unknown:
        # Ids resemble each other: one digit apart is another animal.
        if close := get_close_matches(name.lower().replace("_", " "), wnids, 1, cutoff=0.8):
            wnid = wnids[close[0]]
            return f" Did you mean {wnid} ({classes[wnid]}) by {name!r}?"
    return ""


def photos_by_class(
    folder: str, root: str, names: list[str], wnids: list[str], expected: int, findings: list[str]
) -> list[Photo]:
    """Photos in the class folders of a part.

    Args:
        folder: ``train/`` or ``val/``.
        root: Folder of the data set.
        names: Class folders in there.
        wnids: All classes in the order of labels.
        expected: How many photos the whole part has.
        findings: Takes a line for whatever is missing.
    """
    if len(names) > 100:
        # Over a network this can take minutes.
        logger.info("Listing the photos of %d classes in %s.", len(names), folder)
    part, photos, empty, ignored = os.path.relpath(folder, root), [], [], Counter()
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    for name in names:
        before = len(photos)
        paths = images(files(os.path.join(folder, name), root), root, ignored)
        photos += [Photo(path, labels[name]) for path in paths]
        if len(photos) == before:
            empty.append(name)
    report_ignored(folder, ignored)
    if missing := sorted({*wnids} - {*names}):
        findings.append(f"{part}/ lacks {len(missing)} of {len(wnids)} class folders: {some(missing)}")
    if empty:
        findings.append(f"{part}/ has {len(empty)} class folders without an image: {some(empty)}")
    if loose := sorted(entry.name for entry in os.scandir(folder) if not is_folder(entry) and _is_loose(entry.name)):
        findings.append(f"{part}/ holds {len(loose)} files outside of class folders: {some(loose)}")
    count_images(part, len(photos), expected, findings)
    return photos


def _is_loose(name: str) -> bool:
    """Whether a file belongs into a class folder, or is an archive of one."""
    return (has_image_suffix(name) or name.lower().endswith(".tar")) and not is_hidden(name)


def count_images(part: str, count: int, expected: int, findings: list[str]) -> None:
    """Add a finding where a part has not as many images as it should."""
    if count != expected:
        findings.append(f"{part}/ holds {count} of {expected} images")


def images(paths: Iterator[str], root: str, ignored: Counter) -> Iterator[str]:
    """Those files that are images by their suffix, as paths below the root; others are counted in ``ignored``."""
    start = len(root.rstrip(os.sep)) + 1
    for path in paths:
        if has_image_suffix(path):
            # A million of them: Path would take a minute.
            yield path[start:].replace(os.sep, "/")
        elif (suffix := os.path.splitext(path)[1].lower()) not in _BESIDE:
            ignored[suffix or "no suffix"] += 1


def stem(path: str) -> str:
    """Name of an image without folder and suffix, and without the class that some copies append."""
    return _APPENDED.sub(r"\1", os.path.splitext(os.path.basename(path))[0])


def report_ignored(folder: str, ignored: Counter) -> None:
    """Say in the log which files are no images."""
    if ignored:
        kinds = ", ".join(f"{count} of {suffix}" for suffix, count in sorted(ignored.items()))
        logger.warning("Left out files in %s that are not images: %s.", folder, kinds)
