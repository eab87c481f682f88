"""Coco: images of several categories each, as COCO's ``instances_*.json`` describes them."""

import os
import re
from dataclasses import replace
from typing import Any

from livecam.core.errors import DataError, MissingFileError
from livecam.data.coco.instances import Instances
from livecam.data.coco.multilabel_dataset import SceneDataset
from livecam.data.folder import check_root, report_missing
from livecam.data.photo_datamodule import FileIndex, PhotoData
from livecam.data.splits import random_split


class Coco(PhotoData):
    """Multi-label classification of COCO, in the layout that it is unpacked to; masks are those of whole categories.

    ``root/annotations/instances_train2017.json`` and ``instances_val2017.json``, with the images in ``root/train2017``
    and ``root/val2017`` (or below ``root/images``). The files of annotations may lie in ``root`` itself, and either may
    be missing: of training images alone ``val_fraction`` is held out, validation images alone are not trained on. A
    single ``instances.json`` with ``root/images`` is divided, too.

    Crowds belong to the mask of their category. Training images carry no masks, which nothing would read.

    Args:
        root: Folder of the data set.
        year: Which files to take where there are those of several years, which share images.
        allow_incomplete: Go on without images that are not there, and annotations of such.
        **kwargs: See :class:`livecam.data.photo_datamodule.PhotoData`; ``resize="stretch"`` is what the AOP paper does.
    """

    head = "multilabel"
    dataset = SceneDataset

    def __init__(self, root: str, year: int | None = None, allow_incomplete: bool = False, **kwargs: Any) -> None:
        self._year, self._allow_incomplete = year, allow_incomplete
        super().__init__(root, **kwargs)

    def find(self, root: str) -> FileIndex:
        """List the images with their categories and masks."""
        check_root(root, "annotations/instances_train2017.json and the like, and the images")
        files = self._files(root)
        divided = {"train", "val"} <= files.keys()
        annotations = {part: Instances(path, root) for part, path in files.items()}
        classes = [instances.classes for instances in annotations.values()]
        if any(other != classes[0] for other in classes):
            raise DataError(f"{' and '.join(files.values())} name different categories: use files of one data set.")
        scenes, missing = {}, []
        for part, instances in annotations.items():
            folder = _folder(root, instances.path)
            scenes[part], report = instances.scenes(folder, with_masks=not (divided and part == "train"))
            missing += [f"{os.path.basename(instances.path)}: {finding}" for finding in report]
        report_missing(root, missing, self._allow_incomplete)
        for part, part_scenes in scenes.items():
            if not part_scenes:
                raise DataError(f"None of the images that {files[part]} lists is there: unpack them below {root}.")
        if divided:
            return FileIndex(classes[0], scenes["train"], scenes["val"])
        if "val" in scenes:
            return FileIndex(classes[0], None, scenes["val"])
        train, val = random_split(next(iter(scenes.values())), self.val_fraction, self.seed)
        return FileIndex(classes[0], [replace(scene, masks=None) for scene in train], val)

    def _files(self, root: str) -> dict[str, str]:
        """Path by part: ``train``, ``val``, or ``all`` where there is one file for both."""
        files: dict[str, list[str]] = {}
        years: set[str | None] = set()
        for folder in (os.path.join(root, "annotations"), root):
            for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
                match = re.fullmatch(r"instances(?:_(train|val)(\d*))?\.json", name)
                if match and self._year in (None, int(match[2] or 0)):
                    years.add(match[2])
                    files.setdefault(match[1] or "all", []).append(os.path.join(folder, name))
        repeated = next((paths for paths in files.values() if len(paths) > 1), None)
        if repeated or len(years - {None}) > 1:
            paths = repeated or [paths[0] for paths in files.values()]
            same = repeated and len({os.path.basename(path) for path in paths}) == 1
            remedy = "keep one of them" if same else "say which by year, such as --data.year 2017"
            raise DataError(f"There are {' and '.join(paths)}: {remedy}.")
        parts = {part: paths[0] for part, paths in files.items()}
        if not parts:
            of = f" of {self._year}" if self._year else ""
            raise MissingFileError(
                f"There is no file of instances{of} in {root}: it should be annotations/instances_val2017.json or the "
                "like, or instances.json."
            )
        if len(parts) > 1 and "all" in parts:
            raise DataError(
                f"{parts.pop('all')} stands beside {' and '.join(parts.values())}: keep the one or the others."
            )
        return parts


def _folder(root: str, path: str) -> str:
    """Where the images of a file of annotations lie, below the root."""
    part = os.path.basename(path).removesuffix(".json").partition("_")[2]
    candidates = [part, f"images/{part}", "images"] if part else ["images"]
    return next((name for name in candidates if os.path.isdir(os.path.join(root, name))), "")
