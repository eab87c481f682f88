"""From photos to model input: augmentation for training, one fixed preparation for validation and ``explain.py``.

The functions below return torchvision v2 transforms; given an image and a mask they move both together. Images are
uint8 ``tv_tensors.Image`` ``(3, H, W)`` of any size and come out as normalized float32 tensors ``(3, S, S)``.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from livecam.core.errors import OptionError
from livecam.core.normalization import IMAGENET, Normalization

ResizeMode = Literal["crop", "stretch"]

# Beyond this a batch fills any memory, and an overflowing number is more likely than a wish.
_LARGEST_SIDE = 10_000
# Of longer images the center is left before their shorter side is brought to size: an honest file of 65535 x 1 px would
# become 16 million px wide, which takes 14 GB.
_LONGEST = 50


class Trim(v2.Transform):
    """Take the center of images whose sides are more than 50 to 1; others pass as they are."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The size that is left."""
        height, width = v2.functional.get_size(flat_inputs[0])
        most = _LONGEST * min(height, width)
        return {"size": [min(height, most), min(width, most)]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Crop an image, or a mask likewise."""
        if params["size"] == v2.functional.get_size(inpt):
            return inpt
        return v2.functional.center_crop(inpt, params["size"])


def train_transform(
    size: int, normalization: Normalization, resize: ResizeMode = "crop", augmentation: float = 1.0
) -> v2.Compose:
    """Random crop, mirroring and mild color jitter.

    Args:
        size: Side of the model input in pixels.
        normalization: From pixels to model input.
        resize: Used where ``augmentation`` is 0.
        augmentation: Strength in [0, 1]: 1 crops down to 35 % of the area and changes brightness, contrast and
            saturation by up to 20 %; 0 prepares training photos as validation does.

    Raises:
        OptionError: When the size or the strength is out of range.
    """
    if not 0 <= augmentation <= 1:
        raise OptionError(f"augmentation is a strength from 0 (none) to 1, got {augmentation}.")
    if augmentation == 0:
        return eval_transform(size, normalization, resize)
    jitter = 0.2 * augmentation
    return v2.Compose(
        [
            v2.RandomResizedCrop(_side(size), scale=(1 - 0.65 * augmentation, 1), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter),
            *_to_input(normalization),
        ]
    )


def eval_transform(size: int, normalization: Normalization, resize: ResizeMode = "crop") -> v2.Compose:
    """The fixed preparation of validation photos.

    Args:
        size: Side of the model input in pixels.
        normalization: From pixels to model input.
        resize: ``crop`` brings the shorter side to ``size * 256 / 224`` and takes the center, as ImageNet scores are
            measured; ``stretch`` shows the whole photo, without regard to its proportions.

    Raises:
        OptionError: When ``size`` is out of range or ``resize`` unknown.
    """
    if resize not in get_args(ResizeMode):
        raise OptionError(f"resize is 'crop' (shorter side, then center) or 'stretch' (whole photo), got {resize!r}.")
    side = _side(size)
    if resize == "stretch":
        geometry = [v2.Resize((side, side), antialias=True)]
    else:
        geometry = [Trim(), v2.Resize(round(side * 256 / 224), antialias=True), v2.CenterCrop(side)]
    return v2.Compose([*geometry, *_to_input(normalization)])


def prepare_image(
    photo: Image.Image,
    image_size: int = 224,
    resize: ResizeMode = "crop",
    mean: Sequence[float] = IMAGENET.mean,
    std: Sequence[float] = IMAGENET.std,
) -> Tensor:
    """Prepare one RGB photo exactly as validation did, from the plain values that a checkpoint holds.

    Returns:
        Model input ``(3, S, S)``, S = ``image_size``.
    """
    return eval_transform(image_size, Normalization(tuple(mean), tuple(std)), resize)(
        tv_tensors.Image(v2.functional.pil_to_tensor(photo))
    )


def _side(size: int) -> int:
    if not isinstance(size, int) or not 1 <= size <= _LARGEST_SIDE:
        raise OptionError(f"Images need a side of 1 to {_LARGEST_SIDE} px, got image_size={size}.")
    return size


def _to_input(normalization: Normalization) -> list[v2.Transform]:
    """Bit for bit what ``to_input`` gives, without its second copy."""
    if len(normalization.mean) != 3:
        raise OptionError(f"Photos have three channels, but the normalization is of {len(normalization.mean)}.")
    normalize = v2.Normalize(normalization.mean, normalization.std, inplace=True)
    return [v2.ToDtype(torch.float32, scale=True), normalize, v2.ToPureTensor()]
