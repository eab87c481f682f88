"""Over-segmentations of an image, from coarse to fine: what methods that think in regions build upon."""

from collections import OrderedDict
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from livecam.core.validation import check_option

SCALES = {"slic": (50, 100, 150, 250, 500), "felzenszwalb": (50, 100, 150, 250, 500, 1200)}
"""Methods of segmentation and the scales that papers use of them: AOP's for SLIC, PAIR's XRAI for Felzenszwalb's."""

_KEPT = 64

_made: OrderedDict[tuple, Tensor] = OrderedDict()


def segment(pixels: Tensor, method: str, scales: tuple[int, ...]) -> Tensor:
    """Segment one image at several scales; on the CPU, by scikit-image.

    The last 64 results are kept: a gallery that shows the same photos again and again segments them once. Pixels count
    as rounded to 1/255, so that the rounding of normalization neither changes segments nor makes two images of one.

    Args:
        pixels: ``(3, H, W)`` in [0, 1].
        method: ``slic`` (Achanta et al. 2012), compactness 10. ``felzenszwalb`` (Felzenszwalb and Huttenlocher 2004) as
            in PAIR's XRAI: the image is stretched to [-1, 1] and to 224 x 224 px, sigma 0.8, at least 150 px per
            segment; labels come back by nearest neighbor.
        scales: Segments wanted of SLIC, which finds fewer where there is no texture; or Felzenszwalb's scales: the
            larger, the larger the segments.

    Returns:
        Labels ``(len(scales), H, W)`` from 0, some perhaps unused, int32 on the CPU; not to be written to.

    Raises:
        ValueError: When the method is unknown.
    """
    check_option("segmentation", method, SCALES)
    rounded = (pixels.detach().double() * 255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().contiguous()
    # A digest and not the pixels: keys of 64 large photos would outweigh their labels.
    digest = blake2b(rounded.numpy().tobytes()).digest()
    key = (digest, tuple(rounded.shape), method, tuple(scales))
    if key in _made:
        _made.move_to_end(key)
        return _made[key]
    image = (rounded.double() / 255).numpy()
    layers = (_slic if method == "slic" else _felzenszwalb)(image, scales)
    _made[key] = torch.stack([torch.from_numpy(layer).int() for layer in layers])
    if len(_made) > _KEPT:
        _made.popitem(last=False)
    return _made[key]


def masks_of(labels: Tensor) -> Tensor:
    """The segments of all label maps ``(S, H, W)`` as masks ``(R, H, W)`` bool, scale by scale, in order of labels."""
    numbers = [torch.arange(int(layer.max()) + 1, dtype=layer.dtype, device=layer.device) for layer in labels]
    return torch.cat([layer == number[:, None, None] for layer, number in zip(labels, numbers)])


def _slic(image: Any, scales: tuple[int, ...]) -> list[Any]:
    from skimage.segmentation import slic

    return [slic(image, n_segments=scale, compactness=10, start_label=0) for scale in scales]


def _felzenszwalb(image: Any, scales: tuple[int, ...]) -> list[Any]:
    from skimage.segmentation import felzenszwalb
    from skimage.transform import resize

    low, high = image.min(), image.max()
    # A baseline image is one segment, whatever it is stretched to.
    stretched = (image - low) / ((high - low) or 1) * 2 - 1
    small = resize(stretched, (224, 224), order=3, mode="constant", preserve_range=True, anti_aliasing=True)
    label_maps = [felzenszwalb(small, scale=scale, sigma=0.8, min_size=150) for scale in scales]
    back = {"order": 0, "mode": "constant", "preserve_range": True, "anti_aliasing": False}
    return [resize(layer, image.shape[:2], **back) for layer in label_maps]
