"""Photos with labels and boxes as a data set of samples; unreadable files are skipped, named and counted."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from livecam.data.images import UnreadableImageError, read_stored, upright

logger = logging.getLogger(__name__)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Photo:
    """One labelled file.

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


def rasterise(boxes: Sequence[Box], width: int, height: int) -> Tensor:
    """Union of boxes as a mask ``(height, width)`` bool: True where a pixel's centre lies in a box.

    Pixel (row r, column c) has its centre at (x, y) = (c + 0.5, r + 0.5); left and top edges belong to a box.
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    for box in boxes:
        left, top, right, bottom = (max(0, math.ceil(edge - 0.5)) for edge in box)
        mask[top:bottom, left:right] = True
    return mask


class PhotoDataset(Dataset):
    """Samples ``image`` (3, H, W), ``label``, ``index``; in a set with masks also ``mask`` (H, W) bool, ``has_mask``.

    A file that cannot be read gives None, which :meth:`collate` drops. It is logged by name once, and counted in
    memory that loader processes share.

    Args:
        root: Folder that the photos' paths start from.
        photos: The files.
        classes: Class names in the order of labels.
        transform: Turns an RGB ``tv_tensors.Image`` (uint8), or the pair of it and its ``tv_tensors.Mask``, into
            model input (see :mod:`livecam.data.transforms`).
        with_masks: Whether samples carry masks; the same for every split of a data set.
        max_unreadable: Most files that may be unreadable; None: the larger of 10 and 1 % of the photos.
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
        self.photos = list(photos)
        self.classes = list(classes)
        self.targets = [photo.label for photo in self.photos]
        self.transform = transform
        self.with_masks = with_masks
        self.max_unreadable = max(10, len(self.photos) // 100) if max_unreadable is None else max_unreadable
        self._failed = torch.zeros(len(self.photos), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> dict[str, Tensor | int | bool] | None:
        index = range(len(self))[index]
        photo = self.photos[index]
        try:
            stored, orientation = read_stored(self.root / photo.path)
        except UnreadableImageError as error:
            self._skip(index, error)
            return None
        image = tv_tensors.Image(F.pil_to_tensor(upright(stored, orientation)))
        sample = {"label": photo.label, "index": index}
        if not self.with_masks:
            return sample | {"image": self.transform(image)}
        image, mask = self.transform(image, self._mask(photo, stored.size, orientation))
        return sample | {
            "image": image,
            "mask": mask.as_subclass(Tensor).bool(),
            "has_mask": photo.boxes is not None,
        }

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
        raise UnreadableImageError(f"No image in {self.root} can be read: {_some(self.unreadable_files)}.")

    def _mask(self, photo: Photo, stored: tuple[int, int], orientation: int) -> tv_tensors.Mask:
        if photo.boxes and photo.size not in (None, stored):
            raise ValueError(
                f"The boxes of {self.root / photo.path} were drawn on {photo.size[0]} x {photo.size[1]} px, but the "
                f"file has {stored[0]} x {stored[1]} px: use the photos that the annotations belong to."
            )
        mask = rasterise(photo.boxes or (), *stored)
        turned = upright(Image.fromarray(mask.byte().numpy()), orientation)
        return tv_tensors.Mask(F.pil_to_tensor(turned)[0])

    def _skip(self, index: int, error: UnreadableImageError) -> None:
        if not self._failed[index]:
            self._failed[index] = True
            logger.warning("%s It is skipped.", error)
        if int(self._failed.sum()) > self.max_unreadable:
            raise UnreadableImageError(
                f"More than {self.max_unreadable} of {len(self)} images in {self.root} are unreadable, among them "
                f"{_some(self.unreadable_files)}: repair or remove them, or raise max_unreadable."
            )


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
