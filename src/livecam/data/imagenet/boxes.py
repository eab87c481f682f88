"""Boxes of ILSVRC2012's validation images, from Kaggle's CSV file or from one XML file per image."""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import NamedTuple
from xml.etree import ElementTree

from livecam.core.errors import DataError, MissingFileError
from livecam.data.annotation_files import malformed
from livecam.data.folder import check_inside, files
from livecam.data.image_io import opened
from livecam.data.imagenet.labels import CSV, Marked, box_of, first_of, read_solution
from livecam.data.imagenet.layout import stem
from livecam.data.photo_dataset import Photo

logger = logging.getLogger(__name__)

Size = tuple[int, int] | None
XML = (
    "ILSVRC/Annotations/CLS-LOC/val",
    "Annotations/CLS-LOC/val",
    "Annotations/val",
    "Annotation/val",
    "annotations/val",
    "bbox/val",
    "bboxes/val",
    "val_boxes/val",
    "val_boxes",
    "ILSVRC2012_bbox_val_v3/val",
    "ILSVRC2012_bbox_val_v3",
)


class Boxes(NamedTuple):
    """Where boxes come from.

    Args:
        path: File or folder.
        names: Names of the images that are described, without suffix.
        read: Objects of one of them, and ``(width, height)`` of the image they were drawn on, where that is said.
    """

    path: str
    names: Collection[str]
    read: Callable[[str], tuple[Sequence[Marked], Size]]


def find_boxes(root: str, boxes_path: str | None, wnids: Collection[str], labels: str | None = None) -> Boxes | None:
    """The boxes that there are; XML files come first, because they tell the size of the image.

    Args:
        root: Folder of the data set, which is not left.
        boxes_path: A CSV file or a folder of XML files instead, wherever it is.
        wnids: The classes that there are.
        labels: File that says the classes of a flat ``val/``; a CSV file has boxes, too.

    Raises:
        MissingFileError: When what is given is not there.
        DataError: When the CSV file is malformed.
    """
    if boxes_path is not None:
        places = os.path.expanduser(boxes_path), os.path.join(root, boxes_path)
        path = next(filter(os.path.exists, places), None)
        if path is None:
            raise MissingFileError(
                f"There is no file or folder {boxes_path} with boxes: give Kaggle's {CSV} or the folder of the XML "
                "files as boxes, or leave boxes out and go without masks where none are found."
            )
        path = os.path.realpath(path)
        if os.path.isfile(path):
            return _from_csv(path, wnids)
        if boxes := _from_xml(path, path):
            return boxes
        raise MissingFileError(f"The folder {path} that was given for boxes holds no XML file.")
    if boxes := _first_xml(root, XML):
        return boxes
    path = labels if labels and os.path.basename(labels) == CSV else first_of(root, [root], CSV)
    if path:
        return _from_csv(path, wnids)
    # The archive of boxes unpacks into val/, perhaps among the images.
    return _first_xml(root, ["val"])


def _first_xml(root: str, places: Sequence[str]) -> Boxes | None:
    for place in places:
        if os.path.isdir(folder := os.path.join(root, place)):
            check_inside(folder, root)
            if boxes := _from_xml(folder, root):
                return boxes
    return None


def _from_csv(path: str, wnids: Collection[str]) -> Boxes:
    boxes = read_solution(path, wnids)
    return Boxes(path, boxes.keys(), lambda name: (boxes[name], None))


def _from_xml(folder: str, root: str) -> Boxes | None:
    paths = {os.path.basename(path)[:-4]: path for path in files(folder, root) if path.lower().endswith(".xml")}
    return Boxes(folder, paths.keys(), lambda name: read_xml(paths[name])) if paths else None


def read_xml(path: str) -> tuple[list[Marked], Size]:
    """Objects and image size of a file as PASCAL VOC has them.

    Raises:
        DataError: When it is malformed.
    """
    try:
        content = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise malformed(path, f"it is not XML ({error})") from error
    if content.tag != "annotation":
        raise malformed(path, f"it should hold an <annotation>, not <{content.tag}>")
    marked = []
    for entry in content.findall("object"):
        if not (wnid := (entry.findtext("name") or "").strip()):
            raise malformed(path, "an object has no name")
        edges = (entry.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax"))
        marked.append(Marked(wnid, box_of(edges, path, f"the object {wnid!r}")))
    sides = [content.findtext(f"size/{side}") or "" for side in ("width", "height")]
    lengths = [int(side) if re.fullmatch(r"\s*\d{1,9}\s*", side) else 0 for side in sides]
    # A tool that has not opened the photo writes 0.
    return marked, (lengths[0], lengths[1]) if all(lengths) else None


def annotate(photos: Sequence[Photo], boxes: Boxes, wnids: Sequence[str], root: str) -> list[Photo]:
    """Photos with the boxes of their own class, in pixels from the upper left corner of the image.

    ILSVRC counts pixels from 0 and names the last one inside (its own evaluation takes ``xmax - xmin + 1`` for the
    width), so that the right and lower edges lie one further. A box whose ends are the same, or swapped, is a slip.
    What was left out is counted in the log. An image without any box left is not annotated.
    """
    left_out, annotated = Counter(), []
    for photo in photos:
        name = stem(photo.path)
        marked, size = boxes.read(name) if name in boxes.names else ((), None)
        inside_boxes = []
        for wnid, (left, top, right, bottom) in marked:
            if wnid != wnids[photo.label]:
                left_out["of another class"] += 1
            elif right <= left or bottom <= top:
                left_out["without area"] += 1
            elif size and (left >= size[0] or top >= size[1] or right < 0 or bottom < 0):
                left_out["outside of the image"] += 1
            else:
                inside_boxes.append((left, top, right + 1, bottom + 1))
        annotated.append(replace(photo, boxes=tuple(inside_boxes) or None, size=size))
    reasons = ", ".join(f"{count} {why}" for why, count in sorted(left_out.items()))
    any_annotated = any(photo.annotated for photo in annotated)
    logger.log(
        logging.INFO if any_annotated and not reasons else logging.WARNING,
        "%d of %d validation images have boxes, from %s%s.",
        sum(photo.annotated for photo in annotated),
        len(annotated),
        boxes.path,
        f" (boxes left out: {reasons})" if reasons else "",
    )
    _check_scale(annotated, root, boxes.path)
    return annotated


def _check_scale(photos: Sequence[Photo], root: str, path: str) -> None:
    """Refuse boxes without a size that seem to belong to larger files, by a few of them.

    Raises:
        DataError: When a tenth of the files looked at, and three at least, are too small.
    """
    unsure = [photo for photo in photos if photo.boxes and not photo.size]
    looked_at, beyond = unsure[:: len(unsure) // 50 + 1], 0
    for photo in looked_at:
        try:
            with opened(os.path.join(root, photo.path)) as (_, image):
                width, height = image.size
        except Exception:  # Files that cannot be read are reported when they are used.
            continue
        beyond += any(right > width + 1 or bottom > height + 1 for _, _, right, bottom in photo.boxes)
    if beyond > max(2, len(looked_at) / 10):
        raise DataError(
            f"Boxes of {beyond} of {len(looked_at)} validation images looked at reach beyond the file: these are "
            f"smaller copies of the images that {path} describes, which does not say their size. Give the folder of "
            "the XML files as boxes, which do."
        )
