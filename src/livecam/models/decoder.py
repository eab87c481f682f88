"""The decoder that both U-Nets share: upsample, take in the skip, convolve twice."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm and ReLU that keep height and width."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        conv = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
        # Ronneberger et al. 2015, section 3: a Gaussian of variance 2 / fan-in.
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Resize(nn.Module):
    """Bilinear interpolation to a size that the skip dictates, so that odd sizes fit."""

    def forward(self, features: Tensor, size: Sequence[int]) -> Tensor:
        """Bring ``(N, C, h, w)`` to ``(N, C, *size)``."""
        return F.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)


class ResizeConv(nn.Module):
    """Bilinear interpolation and a 3x3 convolution in place of a transposed one (Odena et al. 2016)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.resize = Resize()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, features: Tensor, size: Sequence[int]) -> Tensor:
        """Bring ``(N, in_channels, h, w)`` to ``(N, out_channels, *size)``."""
        return self.conv(self.resize(features, size))


class DecoderBlock(nn.Module):
    """One step up.

    Args:
        up: Called with features and a size; returns ``up_channels`` channels of that size.
        up_channels: Channels after ``up``; they come first in the concatenation.
        skip_channels: Channels of the skip; 0 for a block without one.
        out_channels: Channels of the result.
    """

    def __init__(self, up: nn.Module, up_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = up
        self.up_channels = up_channels
        self.skip_channels = skip_channels
        self.convs = double_conv(up_channels + skip_channels, out_channels)

    def forward(self, features: Tensor, size: Sequence[int], skip: Tensor | None) -> Tensor:
        """Turn ``(N, C, h, w)`` into ``(N, out_channels, *size)``; a skip of None counts as zeros."""
        features = self.up(features, list(size))
        if self.skip_channels:
            if skip is None:
                skip = features.new_zeros(len(features), self.skip_channels, *size)
            features = torch.cat([features, skip], 1)
        return self.convs(features)

    def drop_skip(self) -> None:
        """Shrink to the upsampled channels; the first convolution's weight becomes uninitialized."""
        conv = self.convs[0]
        # Changed in place, because a new nn.Conv2d would draw from the random generator.
        conv.weight = nn.Parameter(conv.weight.new_empty(conv.out_channels, self.up_channels, *conv.kernel_size))
        conv.in_channels = self.up_channels
        self.skip_channels = 0


class Decoder(nn.Module):
    """Decoder blocks from the deepest to full resolution.

    Args:
        blocks: From deep to shallow.
        use_skips: Whether skips are taken in; without, blocks that still expect one read zeros.
    """

    def __init__(self, blocks: Sequence[DecoderBlock], use_skips: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.use_skips = use_skips

    def forward(
        self,
        deepest: Tensor,
        skips: Sequence[Tensor | None],
        sizes: Sequence[Sequence[int]],
        window: tuple[slice, slice] | None = None,
    ) -> Tensor:
        """Decode.

        Args:
            deepest: Bottleneck map ``(N, C, h, w)``.
            skips: One skip per block, from deep to shallow; None where there is none.
            sizes: Height and width after each block.
            window: Rows and columns of the last map that show the image; None for all.

        Returns:
            The full-resolution map ``(N, C, H, W)`` that global pooling reads.
        """
        features = deepest
        for block, skip, size in zip(self.blocks, skips, sizes):
            features = block(features, size, skip if self.use_skips else None)
        return features if window is None else features[..., window[0], window[1]]
