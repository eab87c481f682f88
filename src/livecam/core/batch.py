"""One way to read a batch, whether it comes from livecam's data or from somebody else's ``(images, labels)``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from livecam.core.errors import DataError
from livecam.core.labels import read_labels


class Pairs(NamedTuple):
    """Which categories are in which images of a multi-label batch, P in all.

    Args:
        image: Place of the image in the batch, ``(P,)``, in ascending order.
        category: Class index ``(P,)``.
        mask: All of the category in the image, ``(P, H, W)`` bool; None where nobody has marked it.
    """

    image: Tensor
    category: Tensor
    mask: Tensor | None = None


@dataclass
class Batch:
    """A batch of labeled images.

    Args:
        image: Model input ``(N, 3, H, W)``.
        label: Class indices ``(N,)``, or multi-hot ``(N, C)``.
        mask: Ground truth ``(N, H, W)``: bool, or float in [0, 1] for a reference map that a metric thresholds.
        has_mask: ``(N,)`` bool; tells an unannotated image from an empty mask.
        index: ``(N,)`` index of each sample in its data set.
        pairs: What is where, for multi-hot labels whose categories are marked.
        present: Multi-hot labels ``(N, C)`` of images of which one category each is looked at.
    """

    image: Tensor
    label: Tensor
    mask: Tensor | None = None
    has_mask: Tensor | None = None
    index: Tensor | None = None
    pairs: Pairs | None = None
    present: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    @property
    def is_multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.label.ndim == 2

    @property
    def known_pairs(self) -> Pairs:
        """What is in which image, marked or not; of multi-hot labels only."""
        return self.pairs or Pairs(*(self.label >= 0.5).nonzero(as_tuple=True))

    @property
    def labels(self) -> Tensor:
        """All that is right to answer: class indices ``(N,)``, or multi-hot ``(N, C)``."""
        return self.label if self.present is None else self.present

    def one_row_per_label(self) -> "Batch":
        """A row for each pair of image and category, labeled with the category; of single labels the batch itself."""
        if not self.is_multilabel:
            return self
        where, category, mask = self.known_pairs
        has_mask = None if mask is None else torch.ones_like(where, dtype=torch.bool)
        index = None if self.index is None else self.index[where]
        return Batch(self.image[where], category, mask, has_mask, index, present=self.label[where])

    def with_masks_for(self, targets: Tensor) -> "Batch":
        """The same images, each with the mask of one category ``(N,)``; not annotated where it is not in the image."""
        if self.pairs is None:
            return self
        where, category, mask = self.pairs
        matching = category == targets[where]
        masks = mask.new_zeros(len(self), *mask.shape[1:])
        masks[where[matching]] = mask[matching]
        has_mask = torch.zeros(len(self), dtype=torch.bool, device=mask.device)
        has_mask[where[matching]] = True
        return replace(self, mask=masks, has_mask=has_mask, pairs=None, present=self.label)

    def select(self, keep: Tensor) -> "Batch":
        """Some of the images, ``(N,)`` bool, or a LongTensor of ascending places."""
        keep = keep.nonzero()[:, 0] if keep.dtype == torch.bool else keep
        fields = {name: None if getattr(self, name) is None else getattr(self, name)[keep] for name in _PER_IMAGE}
        return Batch(**fields, pairs=self._pairs_of(keep) if self.pairs else None)

    def _pairs_of(self, keep: Tensor) -> Pairs:
        place = torch.full((len(self),), -1, device=keep.device)
        place[keep] = torch.arange(len(keep), device=keep.device)
        where = place[self.pairs.image]
        selected = where >= 0
        return Pairs(where[selected], self.pairs.category[selected], self.pairs.mask[selected])


_PER_IMAGE = ("image", "label", "mask", "has_mask", "index", "present")


def concatenate(batches: Sequence[Batch]) -> Batch:
    """One batch of several of the same kind."""

    def join(parts: list[Tensor | None]) -> Tensor | None:
        return None if parts[0] is None else torch.cat(parts)

    result = Batch(**{name: join([getattr(batch, name) for batch in batches]) for name in _PER_IMAGE})
    if batches[0].pairs is not None:
        starts = torch.tensor([0, *map(len, batches)]).cumsum(0).tolist()
        images = torch.cat([batch.pairs.image + start for batch, start in zip(batches, starts)])
        parts = [torch.cat([getattr(batch.pairs, name) for batch in batches]) for name in ("category", "mask")]
        result.pairs = Pairs(images, *parts)
    return result


# livecam's own word first, then those of torchvision, torchgeo and MONAI, Hugging Face, lightly and torchxrayvision.
_IMAGE_KEYS = ("image", "images", "pixel_values", "img", "input", "inputs", "x")
_LABEL_KEYS = ("label", "labels", "target", "targets", "lab", "class", "y")


def _key(batch: dict, keys: Sequence[str]) -> str:
    """The one key that stands for images, or for labels; livecam's own word counts beside any other.

    Raises:
        DataError: When there is none, or one of several could be meant.
    """
    found = [key for key in keys if key in batch]
    if not found:
        raise DataError(
            f"A batch is a dict with 'image' and 'label', or a pair (images, labels); got {sorted(map(str, batch))}."
        )
    if len(found) > 1 and keys[0] not in found:
        raise DataError(f"A batch has {' and '.join(map(repr, found))}: call the one that is meant {keys[0]!r}.")
    return found[0]


def batch_size_of(batch: Any) -> int:
    """How many images a batch of any form holds, as its first tensor tells; 0 where there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, list | tuple):
        return next((count for count in map(batch_size_of, batch) if count), 0)
    return 0


def read_batch(batch: Any) -> Batch:
    """Read a dict with ``image`` and ``label`` (and masks, where there are any), or a pair ``(images, labels)``.

    Multi-hot labels ``(N, C)``, C > 1, come with ``pairs`` = (place in the batch, category, mask), three tensors, where
    there are masks.

    Raises:
        DataError: When the batch is neither.
        DataError: When the masks do not have the images' size.
    """
    if isinstance(batch, dict):
        image, label = (_key(batch, keys) for keys in (_IMAGE_KEYS, _LABEL_KEYS))
        fields = {key: batch.get(key) for key in ("mask", "has_mask", "index", "pairs")}
        fields |= {"image": batch[image], "label": batch[label]}
    elif isinstance(batch, tuple | list) and len(batch) >= 2 and isinstance(batch[0], Tensor):
        fields = {"image": batch[0], "label": batch[1]}
    else:
        kind = type(batch).__name__
        raise DataError(f"A batch is a dict with 'image' and 'label', or a pair (images, labels); got {kind}.")
    fields["label"] = read_labels(fields["label"])
    result = Batch(**fields)
    if result.pairs is not None:
        result.pairs = Pairs(*result.pairs)
    for masks in (result.mask, result.pairs and result.pairs.mask):
        if masks is not None and masks.shape[-2:] != result.image.shape[-2:]:
            sizes = [" x ".join(map(str, tensor.shape[-2:])) for tensor in (masks, result.image)]
            raise DataError(
                f"Masks of {sizes[0]} px do not fit images of {sizes[1]} px: "
                "transform them together (torchvision v2 with tv_tensors.Mask does)."
            )
    if result.mask is not None and result.has_mask is None:
        result.has_mask = torch.ones(len(result), dtype=torch.bool, device=result.image.device)
    return result
