"""ImageNet: the 1000 classes of ILSVRC2012 in the folders that people really have, with boxes for validation."""

import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

from livecam.core.errors import DataError
from livecam.data.folder import check_root, files, report_missing
from livecam.data.imagenet import layout
from livecam.data.imagenet.boxes import annotate, find_boxes
from livecam.data.imagenet.labels import find_labels, ilsvrc_classes
from livecam.data.photo_datamodule import FileIndex, PhotoData
from livecam.data.photo_dataset import Photo, some

logger = logging.getLogger(__name__)

TRAIN, VAL = 1_281_167, 50_000


class ImageNet(PhotoData):
    """ILSVRC2012 as it was unpacked: nothing is converted, and labels are always those of published networks.

    ``train/`` holds a folder for each class, called by its WordNet id. ``val/`` does too, or holds the images
    themselves; then ``LOC_val_solution.csv`` (Kaggle), ``ILSVRC2012_validation_ground_truth.txt`` with ``meta.mat``
    (the development kit) or ``imagenet_2012_validation_synset_labels.txt`` says their classes. Both may lie in
    ``ILSVRC/Data/CLS-LOC/``, as Kaggle's archive has them. Without ``train/`` networks can be validated and explained.
    docs/imagenet.md tells which files are looked for where.

    Boxes are read for validation only, so that training pays nothing for masks. Labels are the ranks of the 1000
    sorted WordNet ids, whatever part of them is there.

    Args:
        root: Folder of the data set.
        boxes: CSV file, or folder of XML files, with the boxes of validation images; None takes what is found.
        allow_incomplete: Go on with what is there, where classes, images or labels are missing.
        **kwargs: See :class:`livecam.data.photo_datamodule.PhotoData`.
    """

    def __init__(self, root: str, boxes: str | None = None, allow_incomplete: bool = False, **kwargs: Any) -> None:
        self._boxes, self._allow = boxes, allow_incomplete
        super().__init__(root, **kwargs)

    def find(self, root: str) -> FileIndex:
        """List the photos of either layout, and report all that is missing at once."""
        check_root(root, "val/, and train/ to train on, of ILSVRC2012")
        base = layout.base_of(root)
        classes = ilsvrc_classes()
        wnids, findings = list(classes), []
        train, val = os.path.join(base, "train"), os.path.join(base, "val")
        # What is cheap comes first: nobody waits for a million files to read of a folder that is misspelt.
        folders = {part: layout.class_folders(part, root, classes) for part in (train, val) if os.path.isdir(part)}
        if folders[val]:
            photos, told_by = layout.photos_by_class(val, root, folders[val], wnids, VAL, findings), None
        else:
            photos, told_by = _flat(val, root, base, wnids, findings)
        # Numbers of images, which mix the classes; folders of classes would have them come one after another.
        photos.sort(key=lambda photo: layout.stem(photo.path))
        if not photos:
            remarks = "".join(f"; {finding}" for finding in findings)
            raise DataError(f"{val} holds no image whose class is known, so there is nothing to validate on{remarks}.")
        boxes = find_boxes(root, self._boxes, classes, told_by)
        if boxes is None:
            logger.warning("No boxes were found in %s: validation images have no masks.", root)
        else:
            if boxes.path != told_by:
                _absent(boxes.path, root, boxes.names, photos, "describes", findings)
            photos = annotate(photos, boxes, wnids, root)
        trained = (
            layout.photos_by_class(train, root, folders[train], wnids, TRAIN, findings) if train in folders else None
        )
        few = len(folders.get(train, wnids)) < len(wnids)
        if few and trained:
            findings.append("to train on some of the classes, ImageFolderData counts those alone")
        report_missing(root, findings, self._allow)
        return FileIndex(list(classes.values()), trained or None, photos)


def _flat(folder: str, root: str, base: str, wnids: list[str], findings: list[str]) -> tuple[list[Photo], str]:
    """Photos of a ``val/`` without class folders, and the file that says their classes."""
    kits = [os.path.join(root, *kit) for kit in (("ILSVRC2012_devkit_t12", "data"), ("devkit", "data"))]
    told_by, wnid_of = find_labels(root, dict.fromkeys([root, *kits, base, folder]), {*wnids})
    labels, ignored = {wnid: label for label, wnid in enumerate(wnids)}, Counter()
    paths = list(layout.images(files(folder, root), root, ignored))
    layout.report_ignored(folder, ignored)
    pairs = [(path, wnid_of.get(layout.stem(path))) for path in paths]
    photos = [Photo(path, labels[wnid]) for path, wnid in pairs if wnid]
    layout.count_images(os.path.relpath(folder, root), len(paths), VAL, findings)
    if unknown := [os.path.basename(path) for path, wnid in pairs if not wnid]:
        findings.append(f"{os.path.relpath(told_by, root)} gives {len(unknown)} images no class: {some(unknown)}")
    _absent(told_by, root, wnid_of, photos, "labels", findings)
    return photos, told_by


def _absent(path: str, root: str, names: Any, photos: list[Photo], does: str, findings: list[str]) -> None:
    """Add a finding for images that a file names and that are not there."""
    there = {layout.stem(photo.path) for photo in photos}
    if absent := sorted(name for name in names if name not in there):
        shown_path = os.path.relpath(path, root) if Path(path).is_relative_to(root) else path
        findings.append(f"{shown_path} {does} {len(absent)} images that are not there: {some(absent)}")
