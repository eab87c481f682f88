import pytest
import torch

from livecam.models import SmpUNet

SMALL = (16, 16, 8, 8, 8)


@pytest.mark.parametrize(
    ("encoder", "finest", "concat", "drop"),
    [
        ("resnet18", "image", 14.38, 13.58),
        ("vgg16_bn", "encoder", 19.12, 17.13),
        ("densenet121", "image", 13.66, 10.54),
        ("mobilenet_v2", "image", 6.68, 6.40),
    ],
)
def test_parameter_counts_of_the_specification(encoder, finest, concat, drop):
    for skips, printed in (("concat", concat), ("drop", drop)):
        with torch.device("meta"):
            # The specification's table was counted with 32 channels in the last block but one.
            net = SmpUNet(encoder, 10, skips=skips, full_res_skip=finest, decoder_channels=(256, 128, 64, 32, 64))
        assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(printed, abs=0.0051)


@pytest.mark.parametrize(
    ("encoder", "finest"), [("resnet18", "stem"), ("vgg11", "encoder"), ("mobilenet_v2", "stem"), ("mit_b0", "stem")]
)
def test_full_resolution_map_feeds_the_head_at_odd_sizes(encoder, finest):
    torch.manual_seed(0)
    net = SmpUNet(encoder, 3, decoder_channels=SMALL).eval()
    assert net.full_res_skip == finest
    seen = {}
    net.decoder.register_forward_hook(lambda module, args, output: seen.update(decoder=output))
    net.bottleneck.register_forward_hook(lambda module, args, output: seen.update(bottleneck=output))
    logits = net(torch.randn(1, 3, 97, 131))
    assert seen["decoder"].shape == (1, 8, 97, 131)
    assert seen["bottleneck"].shape[1] == net.encoder.out_channels[-1]
    by_hand = seen["decoder"].mean((2, 3)) @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(logits, by_hand, atol=1e-6, rtol=0)


def test_default_decoder_gives_the_head_64_channels():
    with torch.device("meta"):
        assert SmpUNet("resnet18", 3).head.weight.shape == (3, 64)


@pytest.mark.parametrize(("finest", "reached"), [("stem", True), ("image", True), ("none", False)])
def test_full_resolution_skip_goes_around_the_whole_encoder(finest, reached):
    torch.manual_seed(0)
    net = SmpUNet("resnet18", 3, full_res_skip=finest, decoder_channels=SMALL).eval()
    seen = {}
    net.encoder.register_forward_hook(lambda module, args, output: [feature.detach() for feature in output])
    net.decoder.register_forward_hook(lambda module, args, output: seen.update(decoder=output))
    images = torch.randn(1, 3, 64, 64, requires_grad=True)
    net(images)
    (gradient,) = torch.autograd.grad(seen["decoder"][0, :, 20, 31].sum(), images, allow_unused=True)
    if reached:
        assert gradient[0, :, 20, 31].any()
        assert not gradient[0, :, :, :20].any(), "a full-resolution path sees a few pixels only"
    else:
        assert gradient is None


@pytest.mark.parametrize(
    ("encoder", "kw", "sentence"),
    [
        ("resnet81", {}, "Unknown encoder 'resnet81'.*resnet18"),
        ("tu-resnet81", {}, "timm has no encoder for 'tu-resnet81'.*tu-resnet18"),
        ("resnet18", {"full_res_skip": "encoder"}, "no features at full size.*stem or image"),
        ("resnet18", {"full_res_skip": "stm"}, "full_res_skip='stm' is not one of .*Did you mean stem"),
        ("resnet18", {"decoder_channels": (8,) * 6}, "cannot halve the resolution 6 times"),
        ("resnet18", {"weights": "imagnet"}, "no published weights 'imagnet'.*imagenet, ssl, swsl"),
        ("resnet18", {"num_classes": 0}, "at least one output"),
    ],
)
def test_bad_arguments_are_refused(encoder, kw, sentence):
    with pytest.raises(ValueError, match=sentence):
        SmpUNet(encoder, **({"num_classes": 2} | kw))


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match=r"31 x 64 px are too small.*at least 32 px"):
        SmpUNet("resnet18", 2, decoder_channels=SMALL)(torch.randn(1, 3, 31, 64))


def test_unreachable_hub_is_one_sentence(monkeypatch):
    def offline(*args, **kw):
        raise OSError("no route to host\nand much more")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", offline)
    with pytest.raises(
        ValueError, match=r"encoder 'resnet18' could not be fetched \(no route to host\).*local file"
    ) as e:
        SmpUNet("resnet18", 2, weights="imagenet")
    assert "\n" not in str(e.value)
