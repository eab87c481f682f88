"""Photos of several categories each: multi-hot labels, and the pairs of image and category with their masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pycocotools import mask as coco_masks
from torch import Tensor
from torch.utils.data import default_collate
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from livecam.data.photo_dataset import NoMaskError, PhotoDataset, check_copy, orient


@dataclass(frozen=True, slots=True)
class Scene:
    """One file with the categories that are in it.

    Args:
        path: Path below the data set's root, with forward slashes.
        labels: Class indices in ascending order; empty where none is there.
        masks: Run-length code of each category, by pycocotools; None: nobody marked them, or nobody will look.
        size: ``(width, height)`` that they were drawn on.
    """

    path: str
    labels: tuple[int, ...]
    masks: tuple[bytes, ...] | None = None
    size: tuple[int, int] | None = None

    @property
    def annotated(self) -> bool:
        """Whether it is known where the categories are."""
        return self.masks is not None


class SceneDataset(PhotoDataset):
    """Samples ``image`` (3, H, W), ``label`` (C,) bool, ``index``, and with masks ``categories`` (K,), ``masks``.

    :meth:`collate` makes ``pairs`` of the latter: place in the batch ``(P,)``, category ``(P,)`` and mask ``(P, H, W)``
    bool, for all categories of all images. Arguments are those of :class:`livecam.data.photo_dataset.PhotoDataset`,
    with :class:`Scene` for photos.
    """

    def targets_of(self, photos: Sequence[Scene]) -> Tensor:
        """Multi-hot labels ``(N, C)`` bool."""
        return torch.stack([self._hot(photo) for photo in photos])

    def _hot(self, scene: Scene) -> Tensor:
        hot = torch.zeros(len(self.classes), dtype=torch.bool)
        hot[list(scene.labels)] = True
        return hot

    def build_sample(
        self, index: int, photo: Scene, image: tv_tensors.Image, stored: tuple[int, int], orientation: int
    ) -> dict[str, Any]:
        sample = {"label": self._hot(photo)}
        if not self.with_masks:
            return sample | {"image": self.transform(image)}
        categories = torch.tensor(photo.labels, dtype=torch.long)
        try:
            masks = self._decoded(photo, *stored)
        except NoMaskError as error:
            self.mark_unannotated(index, error)
            masks, categories = torch.zeros(1, *stored[::-1], dtype=torch.bool), categories[:0]
        image, masks = self.transform(image, orient(masks, orientation))
        # The first one is blank.
        return sample | {"image": image, "categories": categories, "masks": masks.as_subclass(Tensor)[1:].bool()}

    def _decoded(self, scene: Scene, width: int, height: int) -> Tensor:
        """An empty mask, which transforms need where there is no other, and one for each category, as stored."""
        check_copy(self.root / scene.path, scene.size, (width, height))
        wide, high = scene.size or (width, height)
        codes = [{"size": [high, wide], "counts": code} for code in scene.masks or ()]
        masks = torch.zeros(1 + len(codes), high, wide, dtype=torch.bool)
        if codes:
            masks[1:] = torch.from_numpy(coco_masks.decode(codes)).permute(2, 0, 1)
        if (wide, high) == (width, height):
            return masks
        copy = F.resize(tv_tensors.Mask(masks.byte()), [height, width], F.InterpolationMode.NEAREST_EXACT)
        return copy.as_subclass(Tensor).bool()

    def collate(self, samples: list[dict[str, Any] | None]) -> dict[str, Any]:
        """Stack samples into a batch without those that could not be read, as for other photos, and pair them."""
        readable = [sample for sample in samples if sample is not None] or [self._stand_in()]
        common = [{key: sample[key] for key in ("image", "label", "index")} for sample in readable]
        batch = default_collate(common)
        if self.with_masks:
            counts = torch.tensor([len(sample["categories"]) for sample in readable])
            batch["pairs"] = (
                torch.arange(len(readable)).repeat_interleave(counts),
                torch.cat([sample["categories"] for sample in readable]),
                torch.cat([sample["masks"] for sample in readable]),
            )
        return batch
