"""``instances_*.json`` of COCO: which categories are in which image, and the run-length code of all of each."""

import math
import os
from collections import defaultdict
from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

from livecam.data.annotations import malformed, read_json
from livecam.data.folder import files
from livecam.data.scenes import Scene

# Polygons further out than this many sides of the image are no outlines, and take memory without bound.
_FAR = 10


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
        parts = [content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations")]
        categories = content.get("categories") if isinstance(content, dict) else None
        if not all(_are_dicts(part, {"id"}) for part in parts) or not _are_dicts(categories, {"id", "name"}):
            raise malformed(path, "it should hold images, annotations and categories, as instances_*.json of COCO does")
        self._images, self._annotations = parts
        ordered = sorted(categories, key=lambda category: category["id"])
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
            with_masks: Whether to draw the masks, at some 15 000 annotations per second.

        Returns:
            The scenes, and what is missing, for people.

        Raises:
            ValueError: When something in the file has no meaning.
        """
        marked: dict[Any, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        for annotation in self._annotations:
            label = self._class.get(annotation.get("category_id"))
            if label is None:
                raise malformed(self.path, f"annotation {annotation['id']!r} has no category that the file names")
            marked[annotation.get("image_id")][label].append(annotation)
        self._annotations = []
        place = os.path.join(self.root, folder, "")
        there = {path[len(place) :].replace(os.sep, "/") for path in files(place, self.root)}
        scenes, absent = [], []
        for image in self._images:
            name = image.get("file_name")
            if not isinstance(name, str) or not name:
                raise malformed(self.path, f"image {image['id']!r} has no file_name")
            own = marked.pop(image["id"], {})
            if name not in there:
                absent.append(name)
                continue
            scenes.append(self._scene("/".join(filter(None, (folder, name))), image, own, with_masks))
        report = []
        if absent:
            where = folder or "the folder"
            report.append(f"{len(absent)} of {len(self._images)} images are not in {where}, such as {absent[0]}")
        if marked:
            count = sum(len(each) for own in marked.values() for each in own.values())
            report.append(f"{count} annotations are of images that it does not list, such as {next(iter(marked))!r}")
        return sorted(scenes, key=lambda scene: scene.path), report

    def _scene(self, path: str, image: dict[str, Any], own: dict[int, list[dict[str, Any]]], with_masks: bool) -> Scene:
        size = image.get("width"), image.get("height")
        if not all(isinstance(side, int) and side > 0 for side in size):
            raise malformed(self.path, f"width and height of {image['file_name']!r} should be whole numbers of pixels")
        labels = tuple(sorted(own))
        masks = tuple(self._code(own[label], *size) for label in labels) if with_masks else None
        return Scene(path, labels, masks, size)

    def _code(self, annotations: list[dict[str, Any]], width: int, height: int) -> bytes:
        codes = [code for each in annotations for code in self._codes(each, width, height)]
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
    if list(region["size"]) != [height, width]:
        raise ValueError
    code = region if isinstance(region["counts"], str | bytes) else coco_masks.frPyObjects(region, height, width)
    # A code that does not fit its size is refused here, not in a loader process.
    coco_masks.decode(code)
    if isinstance(region["counts"], list) and sum(region["counts"]) != width * height:
        raise ValueError
    return code


def _nothing(width: int, height: int) -> bytes:
    return coco_masks.encode(np.zeros((height, width), np.uint8, order="F"))["counts"]


def _near(polygon: list[float], width: int, height: int) -> bool:
    reach = _FAR * max(width, height)
    return all(isinstance(x, int | float) and math.isfinite(x) and abs(x) <= reach for x in polygon)


def _are_dicts(part: Any, keys: set[str]) -> bool:
    return isinstance(part, list) and all(isinstance(each, dict) and keys <= each.keys() for each in part)
