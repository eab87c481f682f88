"""From a raw map at layer resolution to one that can be shown and measured."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(maps: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Resize maps ``(N, h, w)`` to ``(N, H, W)`` bilinearly (methods 0.2)."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=align_corners)[:, 0]


def is_degenerate(maps: Tensor) -> Tensor:
    """Which maps carry no contrast, ``(N,)`` bool: all zero, constant up to rounding (methods C5), or not finite.

    The floor is relative: rounding noise must not become a full-contrast map, small genuine maps must not vanish.
    """
    flat = maps.flatten(1)
    low, high = flat.aminmax(dim=1)
    tolerance = 1e-12 if maps.dtype == torch.float64 else 1e-5
    # Asked this way round, because no comparison with NaN holds, and infinity is not above itself.
    return ~(high - low > tolerance * flat.abs().amax(1))


def is_finite(maps: Tensor) -> Tensor:
    """Which maps hold neither NaN nor infinity, ``(N,)`` bool."""
    return maps.flatten(1).isfinite().all(1)


def minmax(maps: Tensor) -> Tensor:
    """Scale each map ``(N, H, W)`` to exactly [0, 1]; a degenerate map becomes zeros, never NaN."""
    low, high = (value[:, None, None] for value in maps.flatten(1).aminmax(dim=1))
    empty = is_degenerate(maps)[:, None, None]
    return ((maps - low) / (high - low).masked_fill(empty, 1)).masked_fill(empty, 0)
