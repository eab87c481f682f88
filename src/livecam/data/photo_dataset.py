"""Photos with labels and boxes as a data set of samples; unreadable files are skipped, named and counted."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision import tv_tensors

from livecam.core.errors import DataError
from livecam.core.text import printable
from livecam.data.image_io import UnreadableImageError, read_stored, upright
from livecam.data.serialized_list import SerializedList

logger = logging.getLogger(__name__)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Photo:
    """One labeled file.

    Args:
        path: Path below the data set's root, with forward slashes.
        label: Class index.
        boxes: Boxes ``(x1, y1, x2, y2)`` around the object in pixels of the stored file; empty: annotated, and the
            object is nowhere; None: not annotated.
        size: ``(width, height)`` of the file that the boxes were drawn on, where the annotations say it.
    """

    path: str
    label: int
    boxes: tuple[Box, ...] | None = None
    size: tuple[int, int] | None = None

    @property
    def annotated(self) -> bool:
        """Whether it is known where the object is."""
        return self.boxes is not None


class NoMaskError(DataError):
    """An annotation of one photo that gives no mask; the photo counts as not annotated, and the message is logged."""


def rasterize(boxes: Sequence[Box], width: int, height: int) -> Tensor:
    """Union of boxes as a mask ``(height, width)`` bool: True where a pixel's center lies in a box.

    Pixel (row r, column c) has its center at (x, y) = (c + 0.5, r + 0.5); left and top edges belong to a box.
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    for box in boxes:
        left, top, right, bottom = (max(0, math.ceil(edge - 0.5)) for edge in box)
        mask[top:bottom, left:right] = True
    return mask


def scaled(photo: Photo, width: int, height: int, root: Path) -> Sequence[Box]:
    """Boxes of a photo in pixels of its file, which may be a larger or smaller copy of the one they were drawn on.

    Raises:
        NoMaskError: When the proportions differ: the file is another, or was cropped.
    """
    if not photo.boxes:
        return ()
    check_copy(root / photo.path, photo.size, (width, height))
    wide, high = photo.size or (width, height)
    x, y = width / wide, height / high
    return [(left * x, top * y, right * x, bottom * y) for left, top, right, bottom in photo.boxes]


def check_copy(path: Path, size: tuple[int, int] | None, stored: tuple[int, int]) -> None:
    """Refuse a file that is no copy, perhaps a resized one, of the photo that annotations were drawn on.

    Args:
        path: For the message.
        size: ``(width, height)`` that they were drawn on; None where nobody says it.
        stored: ``(width, height)`` of the file.

    Raises:
        NoMaskError: When the proportions differ.
    """
    (width, height), (wide, high) = stored, size or stored
    # One side may have been rounded, or cut, to whole pixels; but not where the copy has the same size.
    if abs(width * high - height * wide) > max(wide, high) or (width == wide) != (height == high):
        raise NoMaskError(
            f"The annotations of {printable(str(path))} were drawn on {wide} x {high} px, but the file has {width} x "
            f"{height} px"
        )


def orient(masks: Tensor, orientation: int) -> tv_tensors.Mask:
    """Masks ``(K, height, width)`` bool of a stored file, upright as :func:`livecam.data.image_io.upright` turns it."""
    return tv_tensors.Mask(upright(masks.byte(), orientation))


class PhotoDataset(Dataset):
    """Samples ``image`` (3, H, W), ``label``, ``index``; in a set with masks also ``mask`` (H, W) bool, ``has_mask``.

    A file that cannot be read gives None, which :meth:`collate` drops. It is logged by name once, and counted in
    memory that loader processes share. A subclass for truth of another kind overrides :meth:`load_mask`, or
    :meth:`build_sample` where there is more than one object.

    Args:
        root: Folder that the photos' paths start from.
        photos: The files.
        classes: Class names in the order of labels.
        transform: Turns an RGB ``tv_tensors.Image`` (uint8), or the pair of it and its ``tv_tensors.Mask``, into
            model input (see :mod:`livecam.data.transforms`).
        with_masks: Whether samples carry masks.
        max_unreadable: Most files that may be unreadable, or have annotations that do not fit; None: the larger of 10
            and 1 % of the photos.
    """

    def __init__(
        self,
        root: str | Path,
        photos: Sequence[Photo],
        classes: Sequence[str],
        transform: Callable[..., Any],
        with_masks: bool = False,
        max_unreadable: int | None = None,
    ) -> None:
        self.root = Path(root)
        self.photos = SerializedList(photos)
        self.classes = list(classes)
        self.targets = self.targets_of(photos)
        self.transform = transform
        self.with_masks = with_masks
        self.max_unreadable = max(10, len(self.photos) // 100) if max_unreadable is None else max_unreadable
        self._failed, self._astray = (torch.zeros(len(self.photos), dtype=torch.bool).share_memory_() for _ in "fa")

    def targets_of(self, photos: Sequence[Photo]) -> Any:
        """Labels of all photos, from which galleries choose."""
        return [photo.label for photo in photos]

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> dict[str, Any] | None:
        index = range(len(self))[index]
        photo = self.photos[index]
        try:
            stored, orientation = read_stored(self.root / photo.path)
        except UnreadableImageError as error:
            self._skip(index, error)
            return None
        height, width = stored.shape[1:]
        image = tv_tensors.Image(upright(stored, orientation))
        return self.build_sample(index, photo, image, (width, height), orientation) | {"index": index}

    def build_sample(
        self, index: int, photo: Photo, image: tv_tensors.Image, stored: tuple[int, int], orientation: int
    ) -> dict[str, Any]:
        """The transformed image with what is known of it.

        Args:
            index: Of the sample.
            photo: What is known of the file.
            image: The upright photo, uint8 ``(3, H, W)``.
            stored: ``(width, height)`` of the file.
            orientation: Its EXIF orientation, which a mask in stored pixels follows.
        """
        if not self.with_masks:
            return {"image": self.transform(image), "label": photo.label}
        mask = self._marked(index, photo, stored) if photo.annotated else None
        has_mask = mask is not None
        mask = mask if has_mask else torch.zeros(stored[1], stored[0], dtype=torch.bool)
        image, mask = self.transform(image, orient(mask[None], orientation))
        return {"image": image, "label": photo.label, "mask": mask.as_subclass(Tensor)[0].bool(), "has_mask": has_mask}

    def _marked(self, index: int, photo: Photo, stored: tuple[int, int]) -> Tensor | None:
        try:
            return self.load_mask(photo, *stored)
        except NoMaskError as error:
            self.mark_unannotated(index, error)
            return None

    def mark_unannotated(self, index: int, error: NoMaskError) -> None:
        """Log, once, that a photo counts as not annotated.

        Raises:
            NoMaskError: When there are more such photos than may be unreadable: the annotations belong to others.
        """
        if not self._astray[index]:
            self._astray[index] = True
            logger.warning("%s: it counts as not annotated.", error)
        if int(self._astray.sum()) > self.max_unreadable:
            raise NoMaskError(
                f"{error}, and so it is for more than {self.max_unreadable} of {len(self)} images: use the photos that "
                "the annotations belong to, or raise max_unreadable."
            )

    def load_mask(self, photo: Photo, width: int, height: int) -> Tensor:
        """The object of an annotated photo as a mask ``(height, width)`` bool of the stored file.

        Raises:
            NoMaskError: When all that is marked lies outside of the file, or belongs to one of other proportions.
        """
        boxes = scaled(photo, width, height, self.root)
        inside = [left < width and top < height and right > 0 and bottom > 0 for left, top, right, bottom in boxes]
        if boxes and not any(inside):
            raise NoMaskError(f"What is marked in {printable(photo.path)} lies outside of it")
        return rasterize(boxes, width, height)

    @property
    def unreadable_files(self) -> list[str]:
        """Paths of the files found unreadable so far, in this process and its loader workers."""
        return [self.photos[index].path for index in self._failed.nonzero()[:, 0].tolist()]

    def collate(self, samples: list[dict[str, Any] | None]) -> dict[str, Tensor]:
        """Stack samples into a batch without those that could not be read.

        Where none could, the first readable image of the set stands in: a last batch of one broken file must not end
        a long training.

        Raises:
            UnreadableImageError: When the whole set has no readable image.
        """
        readable = [sample for sample in samples if sample is not None]
        return default_collate(readable or [self._stand_in()])

    def _stand_in(self) -> dict[str, Any]:
        for index in range(len(self)):
            if (sample := self[index]) is not None:
                return sample
        raise UnreadableImageError(f"No image in {self.root} can be read: {some(self.unreadable_files)}.")

    def _skip(self, index: int, error: UnreadableImageError) -> None:
        if not self._failed[index]:
            self._failed[index] = True
            logger.warning("%s It is skipped.", error)
        if int(self._failed.sum()) > self.max_unreadable:
            raise UnreadableImageError(
                f"More than {self.max_unreadable} of {len(self)} images in {self.root} are unreadable, among them "
                f"{some(self.unreadable_files)}: repair or remove them, or raise max_unreadable."
            )


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few of a list, and how many more there are."""
    first = [printable(name) for name in names[:most]]
    return ", ".join(first) + (f" and {len(names) - most} more" if len(names) > most else "")
