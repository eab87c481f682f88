"""The original U-Net as a classifier: global average pooling and one linear layer on the full-resolution decoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livecam.core.errors import DataError, OptionError
from livecam.core.validation import check_option
from livecam.models.decoder import Decoder, DecoderBlock, ResizeConv, double_conv
from livecam.models.skip_ablation import ablate


class ClassicUNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with a GAP head, for class activation maps as sharp as the image.

    Unlike the original, convolutions are padded and followed by batch norm. The modules ``bottleneck`` and ``decoder``
    return the deepest and the full-resolution map; ``head`` reads the mean of the latter.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        width: Channels at full resolution, doubled at each level; the original has 64.
        depth: Number of times the resolution halves.
        skips: ``concat``, or the ablated twins ``drop`` and ``zero`` (see :mod:`livecam.models.skip_ablation`).
        upsample: ``transpose`` (2x2 transposed convolution) or ``bilinear`` (with a 3x3 convolution).

    Raises:
        ValueError: When an argument is unknown or out of range.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 32,
        depth: int = 4,
        skips: str = "concat",
        upsample: str = "transpose",
    ) -> None:
        super().__init__()
        if min(num_classes, in_channels, width, depth) < 1:
            raise OptionError(
                f"A U-Net needs positive numbers, got num_classes={num_classes}, in_channels={in_channels}, "
                f"width={width}, depth={depth}."
            )
        check_option("upsample", upsample, ("transpose", "bilinear"))
        self.depth = depth
        widths = [width * 2**level for level in range(depth + 1)]
        pairs = zip([in_channels, *widths[:-2]], widths[:-1])
        self.encoder = nn.ModuleList(double_conv(before, after) for before, after in pairs)
        # One pool per level, so that explainers can tell the resolution stages apart by name.
        self.pools = nn.ModuleList(nn.MaxPool2d(2) for _ in range(depth))
        self.bottleneck = double_conv(widths[-2], widths[-1])
        blocks = []
        for below, here in zip(widths[:0:-1], widths[-2::-1]):
            up = nn.ConvTranspose2d(below, here, 2, 2) if upsample == "transpose" else ResizeConv(below, here)
            blocks.append(DecoderBlock(up, here, here, here))
        self.decoder = Decoder(blocks, use_skips=True)
        self.head = nn.Linear(width, num_classes)
        # Pooling over every pixel leaves little variance between images whose objects are small; a head that starts
        # large passes the features a gradient that they learn from several times sooner.
        with torch.no_grad():
            self.head.weight.mul_(8)
        ablate(self, skips)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, num_classes)`` of images ``(N, in_channels, H, W)`` of any size from 2**depth px.

        Raises:
            ValueError: When a side is shorter than 2**depth pixels.
        """
        features, window = self._pad(images)
        skips = []
        for convs, pool in zip(self.encoder, self.pools):
            skips.insert(0, convs(features))
            features = pool(skips[0])
        features = self.bottleneck(features)
        features = self.decoder(features, skips, [skip.shape[2:] for skip in skips], window)
        return self.head(features.mean((2, 3)))

    def _pad(self, images: Tensor) -> tuple[Tensor, tuple[slice, slice] | None]:
        """Reflect evenly on all sides up to multiples of 2**depth; tells where the image lies in the result."""
        height, width = images.shape[2:]
        unit = 2**self.depth
        check_sides(images, unit)
        rows, columns = -height % unit, -width % unit
        if not rows and not columns:
            return images, None
        top, left = rows // 2, columns // 2
        padded = F.pad(images, (left, columns - left, top, rows - top), mode="reflect")
        return padded, (slice(top, top + height), slice(left, left + width))


def check_sides(images: Tensor, least: int) -> None:
    """Refuse images ``(N, C, H, W)`` with a side shorter than ``least`` pixels.

    Raises:
        ValueError: When there is such a side.
    """
    height, width = images.shape[2:]
    if min(height, width) < least:
        raise DataError(
            f"Images of {height} x {width} px are too small for this U-Net, which needs sides of at least {least} px: "
            "enlarge them or lower its depth."
        )
