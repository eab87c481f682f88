"""A U-Net classifier on a pretrained encoder of segmentation-models-pytorch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from livecam.core.errors import NetworkNotFoundError, OptionError
from livecam.core.validation import check_option, suggest
from livecam.models.decoder import Decoder, DecoderBlock, Resize, double_conv
from livecam.models.skip_ablation import ablate
from livecam.models.unet import check_sides
from livecam.models.weights import reaching_hub

_STEM_CHANNELS = 32
_SOURCES = ("encoder", "stem", "image", "none")


class SmpUNet(nn.Module):
    """Encoder, U-Net decoder up to the full resolution, global average pooling and one linear layer.

    A stock ``smp.Unet`` has no skip at full resolution, so its finest map is an upsampled half-resolution one; this
    network adds that skip, uses bilinear interpolation, and keeps 64 channels for the linear layer to read. The
    modules ``bottleneck`` and ``decoder`` return the deepest and the full-resolution map.

    Args:
        encoder: Name of an smp encoder, such as ``resnet18``, ``vgg16_bn`` or ``tu-<timm name>``.
        num_classes: Number of logits.
        weights: None (random) or a name of smp's published encoder weights, mostly ``imagenet``.
        skips: ``concat``, or the ablated twins ``drop`` and ``zero`` (see :mod:`livecam.models.skip_ablation`).
        full_res_skip: What the last block takes in at full resolution: ``encoder`` (only encoders such as VGG have
            learnt features there, and use them by default), ``stem`` (two convolutions on the image, 32 channels;
            default for the others), ``image`` (its three channels) or ``none`` (as in smp).
        decoder_channels: Channels of the decoder's blocks; as many as times the resolution halves.

    Raises:
        ValueError: When a name is unknown, the encoder cannot have that depth, or weights cannot be fetched.
    """

    def __init__(
        self,
        encoder: str,
        num_classes: int,
        weights: str | None = None,
        skips: str = "concat",
        full_res_skip: str | None = None,
        decoder_channels: Sequence[int] = (256, 128, 64, 64, 64),
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise OptionError(f"A U-Net needs at least one output, got num_classes={num_classes}.")
        self.depth = len(decoder_channels)
        self.encoder = _encoder(encoder, weights, self.depth)
        in_channels, *channels = self.encoder.out_channels
        learnt = in_channels != 3
        self.full_res_skip = full_res_skip or ("encoder" if learnt else "stem")
        check_option("full_res_skip", self.full_res_skip, _SOURCES)
        if self.full_res_skip == "encoder" and not learnt:
            raise OptionError(f"Encoder {encoder!r} has no features at full size: use full_res_skip=stem or image.")
        self.bottleneck = nn.Identity()
        finest = {"encoder": in_channels, "stem": _STEM_CHANNELS, "image": 3, "none": 0}[self.full_res_skip]
        ups = [channels[-1], *decoder_channels[:-1]]
        blocks = [
            DecoderBlock(Resize(), up, skip, out)
            for up, skip, out in zip(ups, [*channels[-2::-1], finest], decoder_channels)
        ]
        self.decoder = Decoder(blocks, use_skips=True)
        self.stem = double_conv(3, _STEM_CHANNELS) if self.full_res_skip == "stem" else None
        self.head = nn.Linear(decoder_channels[-1], num_classes)
        ablate(self, skips)
        self._freeze_unused()

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, num_classes)`` of images ``(N, 3, H, W)`` of any size from 2**depth px.

        Raises:
            ValueError: When a side is shorter than 2**depth pixels.
        """
        check_sides(images, 2**self.depth)
        features = self.encoder(images)
        skips = [*features[-2:0:-1], self._finest(images, features)]
        sizes = [feature.shape[2:] for feature in [*features[-2:0:-1], images]]
        features = self.decoder(self.bottleneck(features[-1]), skips, sizes)
        return self.head(features.mean((2, 3)))

    def _finest(self, images: Tensor, features: list[Tensor]) -> Tensor | None:
        if not self.decoder.use_skips or self.full_res_skip == "none":
            return None
        if self.full_res_skip == "stem":
            return self.stem(images)
        return features[0] if self.full_res_skip == "encoder" else images

    def _freeze_unused(self) -> None:
        """Freeze encoder layers that no feature depends on: distributed training fails on them.

        EfficientNet encoders keep their last convolution, ResNets of lower depth their last stages.
        """
        parameters = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        self.encoder.eval()
        with torch.enable_grad():
            features = self.encoder(torch.zeros(1, 3, 64, 64, device=parameters[0].device))
            read = features[1:] if self.decoder.use_skips else features[-1:]
            total = sum(feature.sum() for feature in read)
            for parameter, gradient in zip(parameters, torch.autograd.grad(total, parameters, allow_unused=True)):
                parameter.requires_grad_(gradient is not None)
        self.encoder.train()


def _encoder(name: str, weights: str | None, depth: int) -> nn.Module:
    from segmentation_models_pytorch.encoders import encoders, get_encoder, get_encoder_names

    published = ["imagenet"]
    if name.startswith("tu-"):
        import timm

        if not timm.is_model(name[3:]):
            names = [f"tu-{model}" for model in timm.list_models()]
            raise NetworkNotFoundError(f"timm has no encoder for {name!r}.{suggest(name, names)}")
    elif name not in encoders:
        raise NetworkNotFoundError(f"Unknown encoder {name!r}.{suggest(name, get_encoder_names())}")
    else:
        published = list(encoders[name]["pretrained_settings"])
    if weights is not None and weights not in published:
        raise OptionError(
            f"Encoder {name!r} has no published weights {weights!r}, and there is no such file; "
            f"it has: {', '.join(published) or 'none'}."
        )
    try:
        encoder = get_encoder(name, depth=depth)
    except (ValueError, IndexError) as error:
        raise OptionError(
            f"Encoder {name!r} cannot halve the resolution {depth} times: shorten decoder_channels ({error})."
        ) from error
    if weights is None:
        return encoder
    with reaching_hub(f"encoder {name!r}"):
        return get_encoder(name, depth=depth, weights=True if name.startswith("tu-") else weights)
