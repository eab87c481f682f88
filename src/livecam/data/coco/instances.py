"""``instances_*.json`` of COCO: which categories are in which image, and the run-length code of all of each."""

import math
import os
from collections import Counter, defaultdict
from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

from livecam.data.annotation_files import malformed, read_json
from livecam.data.coco.multilabel_dataset import Scene
from livecam.data.folder import check_inside, files

# Polygons further out than this many sides of the image are no outlines, and take memory without bound.
_FAR = 10
# As JPEG has them, and Pillow's limit for an honest photo.
_SIDE, _PIXELS = 65_535, 178_956_970


class Instances:
    """What one file says.

    Args:
        path: The file.
        root: Folder of the data set, which nothing may leave.

    Raises:
        ValueError: When it is no file of instances.
    """

    def __init__(self, path: str, root: str) -> None:
        self.path, self.root = path, root
        content = read_json(path, root, None)
        kinds = {"images": {"id", "file_name"}, "annotations": {"id"}, "categories": {"id", "name"}}
        if not isinstance(content, dict) or not all(
            _are_dicts(content.get(kind), keys) for kind, keys in kinds.items()
        ):
            raise malformed(
                path,
                "it should hold images, annotations and categories, as instances_*.json of COCO does: lists of dicts, "
                "each with an id that is a number or a text, images with a file_name, categories with a name",
            )
        self._images, self._annotations, categories = (content[kind] for kind in kinds)
        for key in ("id", "file_name"):
            value, count = next(iter(Counter(image[key] for image in self._images).most_common(1)), ("", 0))
            if count > 1:
                raise malformed(path, f"it lists {count} images of {key} {value!r}")
        # Texts, where there are any, after numbers.
        ordered = sorted(categories, key=lambda category: (isinstance(category["id"], str), category["id"]))
        self._class = {category["id"]: label for label, category in enumerate(ordered)}
        self.classes = [str(category["name"]) for category in ordered]
        if len(self._class) < max(2, len(ordered)):
            raise malformed(path, "it should have two categories or more, each with an id of its own")

    def scenes(self, folder: str, with_masks: bool) -> tuple[list[Scene], list[str]]:
        """The images that are there, in the order of their names.

        Crowds count as their category, and belong to its mask. The annotations are forgotten: what they say is kept
        in the scenes, and they take ten times the memory.

        Args:
            folder: Where the images lie, below the root; "" for the root itself.
            with_masks: Whether to draw the masks, which takes longer than all else.

        Returns:
            The scenes, and what is missing, for people.

        Raises:
            ValueError: When something in the file has no meaning.
        """
        marked: dict[Any, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        for annotation in self._annotations:
            of, category = annotation.get("image_id"), annotation.get("category_id")
            if not _is_id(category) or category not in self._class:
                raise malformed(self.path, f"annotation {annotation['id']!r} has no category that the file names")
            if not _is_id(of):
                raise malformed(self.path, f"annotation {annotation['id']!r} has no image_id")
            marked[of][self._class[category]].append(annotation)
        self._annotations = []
        place = os.path.join(self.root, folder, "")
        check_inside(place, self.root)
        there = {path[len(place) :].replace(os.sep, "/") for path in files(place, self.root)}
        scenes, absent = [], []
        for image in self._images:
            name = image["file_name"]
            annotations = marked.pop(image["id"], {})
            if name not in there:
                absent.append(name)
                continue
            scenes.append(self._scene("/".join(filter(None, (folder, name))), image, annotations, with_masks))
        report = []
        if absent:
            where = folder or "the folder"
            report.append(f"{len(absent)} of {len(self._images)} images are not in {where}, such as {absent[0]}")
        if marked:
            count = sum(
                len(category_annotations)
                for annotations in marked.values()
                for category_annotations in annotations.values()
            )
            report.append(f"{count} annotations are of images that it does not list, such as {next(iter(marked))!r}")
        return sorted(scenes, key=lambda scene: scene.path), report

    def _scene(
        self, path: str, image: dict[str, Any], annotations: dict[int, list[dict[str, Any]]], with_masks: bool
    ) -> Scene:
        size = image.get("width"), image.get("height")
        if not all(type(side) is int and 0 < side <= _SIDE for side in size) or size[0] * size[1] > _PIXELS:
            raise malformed(
                self.path, f"width and height of {image['file_name']!r} should be pixels of a photo, not {size}"
            )
        labels = tuple(sorted(annotations))
        masks = tuple(self._code(annotations[label], *size) for label in labels) if with_masks else None
        return Scene(path, labels, masks, size)

    def _code(self, annotations: list[dict[str, Any]], width: int, height: int) -> bytes:
        codes = [code for annotation in annotations for code in self._codes(annotation, width, height)]
        return coco_masks.merge(codes)["counts"] if codes else _nothing(width, height)

    def _codes(self, annotation: dict[str, Any], width: int, height: int) -> list[dict[str, Any]]:
        """Run-length codes of the polygons of one annotation, or its own; those without area are left out."""
        region = annotation.get("segmentation")
        which = f"the segmentation of annotation {annotation['id']!r}"
        try:
            if isinstance(region, dict):
                return [_run_lengths(region, width, height)]
            if not isinstance(region, list | None):
                raise ValueError
            polygons = [polygon for polygon in region or () if len(polygon) >= 6]
            # Of odd length the library would read beyond their end.
            if any(len(polygon) % 2 or not _near(polygon, width, height) for polygon in polygons):
                raise ValueError
            return coco_masks.frPyObjects(polygons, height, width) if polygons else []
        except Exception as error:
            raise malformed(
                self.path,
                f"{which} should be polygons [x1, y1, x2, y2, …] or a run-length code of {width} x {height} px",
            ) from error


def _run_lengths(region: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """A run-length code as the library has it; counted here, because the library believes what it is given."""
    counts = region["counts"]
    counts = counts if isinstance(counts, list) else _counts(counts)
    total = width * height
    fits = all(type(count) is int and count >= 0 for count in counts) and sum(counts) == total >= len(counts)
    if list(region["size"]) != [height, width] or not fits:
        raise ValueError
    return coco_masks.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def _counts(text: str) -> list[int]:
    """Run lengths of COCO's compressed code: five bits in each letter, and differences from the last but one."""
    counts, value, shift = [], 0, 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise ValueError
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError
    return counts


def _nothing(width: int, height: int) -> bytes:
    return coco_masks.encode(np.zeros((height, width), np.uint8, order="F"))["counts"]


def _near(polygon: list[float], width: int, height: int) -> bool:
    reach = _FAR * max(width, height)
    return all(isinstance(x, int | float) and math.isfinite(x) and abs(x) <= reach for x in polygon)


def _is_id(value: Any) -> bool:
    return type(value) is int or isinstance(value, str)


def _are_dicts(part: Any, keys: set[str]) -> bool:
    return isinstance(part, list) and all(
        isinstance(entry, dict) and keys <= entry.keys() and _is_id(entry["id"]) and _has_name(entry, keys)
        for entry in part
    )


def _has_name(entry: dict[str, Any], keys: set[str]) -> bool:
    return "file_name" not in keys or (isinstance(entry["file_name"], str) and entry["file_name"] != "")
