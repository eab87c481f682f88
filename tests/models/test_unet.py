import numpy as np
import pytest
import torch

from livecam.models import ClassicUNet


def tiny(**kw):
    torch.manual_seed(0)
    return ClassicUNet(5, **({"width": 8, "depth": 3} | kw)).eval()


def outputs(net, images):
    seen = {}
    handles = [
        getattr(net, name).register_forward_hook(lambda module, args, output, name=name: seen.update({name: output}))
        for name in ("bottleneck", "decoder")
    ]
    logits = net(images)
    for handle in handles:
        handle.remove()
    return logits, seen


@pytest.mark.parametrize(
    ("width", "concat", "drop"), [(16, "1.94", "1.75"), (32, "7.76", "6.98"), (64, "31.0", "27.9")]
)
def test_parameter_counts_of_the_specification(width, concat, drop):
    for skips, printed in (("concat", concat), ("drop", drop)):
        with torch.device("meta"):
            net = ClassicUNet(10, width=width, skips=skips)
        body = sum(parameter.numel() for parameter in net.parameters()) - (width + 1) * 10
        assert f"{body / 1e6:#.3g}" == printed


@pytest.mark.parametrize("size", [(64, 64), (50, 71), (8, 9)])
@pytest.mark.parametrize("upsample", ["transpose", "bilinear"])
def test_pooled_decoder_and_head_reproduce_the_logits(size, upsample):
    net = tiny(upsample=upsample)
    logits, seen = outputs(net, torch.randn(2, 3, *size))
    assert seen["decoder"].shape == (2, 8, *size)
    assert seen["bottleneck"].shape == (2, 64, -(-size[0] // 8), -(-size[1] // 8))
    by_hand = seen["decoder"].mean((2, 3)) @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(logits, by_hand, atol=1e-6, rtol=0)


def test_odd_sizes_are_reflected_and_cropped_back():
    net = tiny()
    images = torch.randn(1, 3, 21, 30)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 2), (1, 1)), mode="reflect")
    _, whole = outputs(net, torch.from_numpy(padded))
    _, cropped = outputs(net, images)
    torch.testing.assert_close(cropped["decoder"], whole["decoder"][:, :, 1:22, 1:31], atol=1e-6, rtol=0)


def test_resolution_stages_have_names_of_their_own():
    sizes = {}
    net = tiny()
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.MaxPool2d):
            module.register_forward_pre_hook(lambda _, args, name=name: sizes.update({name: args[0].shape[2]}))
    net(torch.randn(1, 3, 16, 16))
    assert sizes == {"pools.0": 16, "pools.1": 8, "pools.2": 4}


@pytest.mark.parametrize(
    ("kw", "sentence"),
    [
        ({"skips": "zeros"}, "skips='zeros' is not one of concat, drop, zero. Did you mean zero"),
        ({"upsample": "nearest"}, "upsample='nearest' is not one of transpose, bilinear"),
        ({"depth": 0}, "positive numbers.*depth=0"),
    ],
)
def test_bad_arguments_are_refused(kw, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny(**kw)


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match=r"7 x 40 px are too small.*at least 8 px"):
        tiny()(torch.randn(1, 3, 7, 40))
