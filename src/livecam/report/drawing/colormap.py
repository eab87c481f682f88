"""Colors of maps: one sequential scale for evidence, one diverging scale for signed evidence.

Both rise evenly in lightness (the diverging one on each side of zero), so that equal steps look equal and a print in
gray keeps the order. Sampled at a few anchors and interpolated, so that no plotting library is needed.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Anchors of the "inferno" scale (CC0) without its palest end: over a light photo near-white peaks look like holes.
_SEQUENTIAL = ("#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#fac72a")
# Blue, through near-white, to red.
_DIVERGING = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b")


@lru_cache
def _table(anchors: tuple[str, ...], device: torch.device) -> Tensor:
    # Kept, because to bring it to a device makes the host wait.
    return torch.tensor([[int(a[i : i + 2], 16) / 255 for i in (1, 3, 5)] for a in anchors], device=device)


def apply_colormap(maps: Tensor, signed: bool = False) -> Tensor:
    """Color maps ``(N, H, W)`` in [0, 1] (0.5 is zero on the diverging scale): RGB ``(N, 3, H, W)`` in [0, 1].

    NaN has no color and is taken for no evidence.
    """
    table = _table(_DIVERGING if signed else _SEQUENTIAL, maps.device)
    place = maps.nan_to_num(0.5 if signed else 0.0).clamp(0, 1) * (len(table) - 1)
    low = place.floor().long().clamp(max=len(table) - 2)
    share = (place - low)[..., None]
    # As `table[low] * (1 - share) + table[low + 1] * share`, in a third of the time.
    below, above = F.embedding(low, table).mul_(1 - share), F.embedding(low + 1, table).mul_(share)
    return below.add_(above).movedim(-1, 1)
