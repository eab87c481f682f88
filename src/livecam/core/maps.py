"""From a raw map at layer resolution to one that can be shown and measured."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(maps: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Resize maps ``(N, h, w)`` to ``(N, H, W)`` bilinearly."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=align_corners)[:, 0]


def is_degenerate(maps: Tensor) -> Tensor:
    """Which maps carry no contrast, ``(N,)`` bool: all zero, constant up to rounding, or not finite.

    The floor is relative: rounding noise must not become a full-contrast map, small genuine maps must not vanish.
    """
    return _no_contrast(*_bounds(maps))


def is_finite(maps: Tensor) -> Tensor:
    """Which maps hold neither NaN nor infinity, ``(N,)`` bool."""
    low, high = _bounds(maps)
    return low.isfinite() & high.isfinite()


def minmax(maps: Tensor) -> Tensor:
    """Scale each map ``(N, H, W)`` to exactly [0, 1]; a degenerate map becomes zeros, never NaN."""
    low, high = _bounds(maps)
    empty = _no_contrast(low, high)[:, None, None]
    span = (high - low)[:, None, None].masked_fill(empty, 1)
    # In place, because new memory costs a CPU more than the arithmetic.
    return (maps - low[:, None, None]).div_(span).masked_fill_(empty, 0)


def _bounds(maps: Tensor) -> tuple[Tensor, Tensor]:
    # One by one is faster than `aminmax` of a dimension.
    flat = maps.flatten(1)
    return flat.amin(1), flat.amax(1)


def _no_contrast(low: Tensor, high: Tensor) -> Tensor:
    tolerance = 1e-12 if low.dtype == torch.float64 else 1e-5
    # Compared this way round, because no comparison with NaN holds, and infinity is not above itself.
    return ~(high - low > tolerance * torch.maximum(high.abs(), low.abs()))
