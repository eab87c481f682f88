"""One way to read a batch, whether it comes from livecam's data or from somebody else's ``(images, labels)``."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Batch:
    """A batch of labelled images.

    Args:
        image: Model input ``(N, 3, H, W)``.
        label: Class indices ``(N,)``, or multi-hot ``(N, C)``.
        mask: Ground truth ``(N, H, W)``: bool, or float in [0, 1] for a reference map that a metric thresholds.
        has_mask: ``(N,)`` bool; tells an unannotated image from an empty mask.
        index: ``(N,)`` index of each sample in its data set.
    """

    image: Tensor
    label: Tensor
    mask: Tensor | None = None
    has_mask: Tensor | None = None
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)


def read_batch(batch: Any) -> Batch:
    """Read a dict with ``image`` and ``label`` (and masks, where there are any), or a pair ``(images, labels)``.

    Raises:
        TypeError: When the batch is neither.
        ValueError: When the masks do not have the images' size.
    """
    if isinstance(batch, dict) and {"image", "label"} <= batch.keys():
        known = {key: batch.get(key) for key in ("image", "label", "mask", "has_mask", "index")}
    elif isinstance(batch, tuple | list) and len(batch) >= 2 and isinstance(batch[0], Tensor):
        known = {"image": batch[0], "label": batch[1]}
    else:
        kind = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
        raise TypeError(f"A batch is a dict with 'image' and 'label', or a pair (images, labels); got {kind}.")
    result = Batch(**known)
    if result.mask is not None:
        if result.mask.shape[-2:] != result.image.shape[-2:]:
            sizes = [" x ".join(map(str, tensor.shape[-2:])) for tensor in (result.mask, result.image)]
            raise ValueError(
                f"Masks of {sizes[0]} px do not fit images of {sizes[1]} px: "
                "transform them together (torchvision v2 with tv_tensors.Mask does)."
            )
        if result.has_mask is None:
            result.has_mask = torch.ones(len(result), dtype=torch.bool, device=result.image.device)
    return result
