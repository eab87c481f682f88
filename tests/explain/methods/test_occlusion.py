"""Occlusion: a naive double loop, linear and constant networks, counts of windows, cover and forward passes."""

import pytest
import torch
from helpers.toys import GapNet, StagedNet, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from livecam.core.normalization import IMAGENET
from livecam.explain import explain
from livecam.explain.methods.occlusion import Occlusion


def occlusion(net, images, targets=None, normalization=None, head="auto", **kwargs):
    return explain(net, images, [Occlusion(**kwargs)], targets, normalization=normalization, head=head)["occlusion"]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def starts(side, width, step, border):
    """First pixels of the windows along one side, walked as one would by hand."""
    found, place = [], 0
    while place + width <= side:
        found.append(place)
        place += step
    if border and found[-1] + width < side and (side - width) % step != 0:
        found.append(side - width)
    return found


def naive(read, image, size, stride, border, blank):
    """Mean drop and mean score of every pixel and the grid, for one image ``(1, 3, H, W)``, window by window."""
    (p, q), (down, right) = pair(size), pair(stride)
    height, width = image.shape[2:]
    clean = read(image)
    scores = [[[] for _ in range(width)] for _ in range(height)]
    grid = []
    for top in starts(height, p, down, border):
        grid.append([])
        for left in starts(width, q, right, border):
            changed = image.clone()
            changed[0, :, top : top + p, left : left + q] = blank[:, top : top + p, left : left + q]
            grid[-1].append(read(changed))
            for i in range(top, top + p):
                for j in range(left, left + q):
                    scores[i][j].append(grid[-1][-1])
    mean = [[sum(cell) / len(cell) if cell else clean for cell in line] for line in scores]
    mean = torch.tensor(mean, dtype=image.dtype)
    return clean - mean, mean, torch.tensor(grid, dtype=image.dtype), clean


def loud(make=StagedNet, **kwargs):
    """In double precision, with weights so large that probabilities move, but not so large that they saturate."""
    net = build(make, seed=1, **kwargs).double()
    with torch.no_grad():
        net.fc.weight.mul_(5)
    return net


SETTINGS = {
    "apart": ((12, 12), {"window_size": 4, "stride": 4}),
    "overlap": ((12, 14), {"window_size": 6, "stride": 2}),
    "border": ((13, 11), {"window_size": 5, "stride": 3}),
    "no border": ((13, 11), {"window_size": 5, "stride": 3, "cover_border": False}),
    "oblong": ((10, 15), {"window_size": (3, 6), "stride": (2, 5)}),
    "gaps": ((12, 13), {"window_size": 2, "stride": 5}),
    "whole": ((8, 6), {"window_size": (8, 6), "stride": 1}),
}


@pytest.mark.parametrize("score", ["probability", "logit"])
@pytest.mark.parametrize("case", SETTINGS)
def test_the_definition_window_by_window(case, score):
    size, options = SETTINGS[case]
    net, images, targets = loud(), pictures(2, size).double(), torch.tensor([2, 0])
    drops = occlusion(net, images, targets, score=score, internal_batch_size=5, **options)
    shows = occlusion(net, images, targets, score=score, internal_batch_size=5, show="probability", **options)
    assert drops.raw.shape == shows.raw.shape == (2, *size) and drops.raw.dtype == torch.float64
    for i, target in enumerate(targets):

        def read(image, target=target):
            with torch.no_grad():
                logits = net(image)[0]
            return float(logits[target] if score == "logit" else logits.softmax(0)[target])

        border, blank = options.get("cover_border", True), torch.zeros(3, *size).double()
        drop, mean, grid, clean = naive(
            read, images[i : i + 1], options["window_size"], options["stride"], border, blank
        )
        torch.testing.assert_close(drops.raw[i], drop, atol=1e-12, rtol=0)
        torch.testing.assert_close(shows.raw[i], mean, atol=1e-12, rtol=0)
        for found in (drops, shows):
            torch.testing.assert_close(found.details["grid"][i], grid, atol=1e-12, rtol=0)
            assert float(found.details["clean"][i]) == pytest.approx(clean, abs=1e-12)
        assert drop.abs().max() > 5e-4, "windows must matter here"
    if case == "gaps":
        assert (drops.raw[:, 2:5] == 0).all() and (shows.raw[:, 2:5] == shows.details["clean"][:, None, None]).all()


BASELINE_NAMES = {
    "zero_normalized": lambda image: torch.zeros_like(image),
    "black": lambda image: IMAGENET.to_input(torch.zeros_like(image)),
    "white": lambda image: IMAGENET.to_input(torch.ones_like(image)),
    "mean": lambda image: image.flatten(1).mean(1)[:, None, None].expand_as(image),
    (0.2, 0.5, 0.9): lambda image: IMAGENET.to_input(
        torch.tensor([0.2, 0.5, 0.9], dtype=image.dtype)[:, None, None] + 0 * image
    ),
}


class Linear(nn.Module):
    """Logits <w_k, x> + b_k."""

    def __init__(self, size, classes=2):
        super().__init__()
        self.w = nn.Parameter(torch.randn(classes, 3, *size, generator=torch.Generator().manual_seed(5)))
        self.b = nn.Parameter(torch.arange(classes) - 0.3)

    def forward(self, images):
        return torch.einsum("nchw,kchw->nk", images, self.w) + self.b


@pytest.mark.parametrize("baseline", BASELINE_NAMES, ids=str)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_linear_model_loses_the_sum_under_the_window(baseline, seed):
    net, images = Linear((9, 12)).double(), pictures(2, (9, 12), seed).double()
    found = occlusion(net, images, 1, IMAGENET, window_size=(3, 4), stride=(3, 4), baseline=baseline, score="logit")
    for i, image in enumerate(images):
        terms = (net.w[1].detach() * (image - BASELINE_NAMES[baseline](image))).sum(0)
        for y in range(3):
            for x in range(3):
                under = (slice(3 * y, 3 * y + 3), slice(4 * x, 4 * x + 4))
                expected = terms[under].sum()
                torch.testing.assert_close(found.raw[i][under], expected.expand(3, 4), atol=1e-11, rtol=0)
                left = found.details["clean"][i] - found.details["grid"][i, y, x]
                torch.testing.assert_close(left, expected, atol=1e-11, rtol=0)


def test_one_pixel_at_a_time_is_input_times_weight():
    net, images = Linear((5, 6)).double(), pictures(2, (5, 6)).double()
    found = occlusion(net, images, 0, window_size=1, stride=1, score="logit")
    torch.testing.assert_close(found.raw, (net.w[0].detach() * images).sum(1), atol=1e-12, rtol=0)


def test_the_two_classes_of_one_logit():
    net, images = loud(classes=1), pictures(2, (13, 12)).double()
    options = {"window_size": 5, "stride": 3}
    zero, one = (occlusion(net, images, target, **options).raw for target in (0, 1))
    torch.testing.assert_close(zero, -one, atol=1e-12, rtol=0)
    assert one.abs().max() > 1e-2
    zero, one = (occlusion(net, images, target, show="probability", **options).raw for target in (0, 1))
    torch.testing.assert_close(zero, 1 - one, atol=1e-12, rtol=0)


def test_labels_of_their_own_are_read_by_sigmoids():
    net, images = loud(), pictures(1, (12, 12)).double()
    found = occlusion(net, images, 2, head="multilabel", window_size=4, stride=4)
    hidden = images.clone()
    hidden[..., :4, 4:8] = 0
    with torch.no_grad():
        torch.testing.assert_close(found.details["grid"][0, 0, 1], net(hidden)[0, 2].sigmoid())


class Constant(GapNet):
    def forward(self, images):
        return 0 * super().forward(images) + torch.tensor([1.0, 3.0, -2.0, 0.0])


@pytest.mark.parametrize("show", ["drop", "probability"])
def test_a_constant_model_shows_nothing(show):
    found = occlusion(build(Constant), pictures(2, (13, 12)), 1, window_size=5, stride=3, show=show)
    assert found.degenerate.all() and not found.map.any()
    if show == "drop":
        assert not found.raw.any()
    else:
        expected = torch.tensor([1.0, 3.0, -2.0, 0.0]).softmax(0)[1]
        torch.testing.assert_close(found.raw, expected.expand(2, 13, 12))


@pytest.mark.parametrize(
    ("side", "size", "stride", "inside", "with_border"),
    [(224, 10, 10, 22, 23), (224, 10, 5, 43, 44), (220, 10, 10, 22, 22), (7, 7, 3, 1, 1), (8, 7, 3, 1, 2)],
)
def test_number_of_windows(side, size, stride, inside, with_border):
    net, images = Linear((side, 3)).double(), pictures(1, (side, 3)).double()
    for border, expected in ((False, inside), (True, with_border)):
        found = occlusion(net, images, window_size=(size, 3), stride=stride, cover_border=border)
        assert found.details["grid"].shape == (1, expected, 1)


@settings(max_examples=25, deadline=None)
@given(side=st.integers(3, 16), size=st.integers(1, 16), stride=st.integers(1, 16), border=st.booleans())
def test_every_pixel_is_covered_where_strides_leave_no_gap(side, size, stride, border):
    size = min(size, side)
    stride = min(stride, size)
    # One unit of evidence in each row: hidden wherever a window lies, so that no covered pixel keeps a drop of zero.
    net, images = Linear((side, 2)).double(), torch.ones(1, 3, side, 2).double()
    nn.init.constant_(net.w, 1.0)
    found = occlusion(net, images, 0, window_size=(size, 2), stride=stride, cover_border=border, score="logit")
    covered = side if border else (side - size) // stride * stride + size
    assert (found.raw[0, :, 0] > 0.5).tolist() == [row < covered for row in range(side)]
    assert len(found.details["grid"][0]) == len(starts(side, size, stride, border))


def counting(net):
    runs = []
    net.register_forward_hook(lambda module, args, output: runs.append(len(args[0])))
    return runs


@pytest.mark.parametrize("internal_batch_size", [1, 4, 7, 1000])
def test_one_forward_per_window_in_chunks_that_change_nothing(internal_batch_size):
    net, images, options = loud(), pictures(3, (13, 12)).double(), {"window_size": 5, "stride": 3}
    expected = occlusion(net, images, 1, **options)
    runs = counting(net)
    found = occlusion(net, images, 1, internal_batch_size=internal_batch_size, **options)
    torch.testing.assert_close(found.raw, expected.raw, atol=1e-13, rtol=0)
    # The recorded pass (the dry run was the first call's), and 4 x 4 windows of each image.
    assert runs[0] == 3 and sum(runs[1:]) == 3 * 4 * 4 and max(runs[1:]) <= internal_batch_size


def test_only_drops_have_a_sign():
    assert Occlusion().signed is True and Occlusion(show="probability").signed is False


def test_lists_of_a_configuration_file_are_pairs():
    assert Occlusion(window_size=[3, 4], stride=[2, 2], baseline=[0, 0.5, 1]) == Occlusion(
        (3, 4), (2, 2), baseline=(0, 0.5, 1)
    )
    hash(Occlusion(window_size=[3, 4]))


def test_a_color_needs_a_normalization():
    with pytest.raises(ValueError, match="The color 'black' is one of pixels: pass normalization="):
        occlusion(build(StagedNet), pictures(), baseline="black")


@pytest.mark.parametrize(("size", "said"), [(25, "25 x 25"), ((10, 25), "10 x 25")])
def test_a_window_larger_than_the_image(size, said):
    sentence = f"The occluding window of {said} px does not fit into an image of 24 x 24 px: choose a smaller"
    with pytest.raises(ValueError, match=sentence):
        occlusion(build(StagedNet), pictures(), window_size=size)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"window_size": 0}, r"window_size is a whole number of pixels from 1, or two: \(height, width\), got 0"),
        ({"window_size": (3, 4, 5)}, "window_size is a whole number"),
        ({"window_size": 2.5}, "window_size is a whole number"),
        ({"stride": [5, -1]}, r"stride is a whole number .* got \[5, -1\]"),
        ({"stride": "5"}, "stride is a whole number"),
        ({"baseline": "gray"}, "baseline='gray' is not one of"),
        ({"score": "prob"}, "score='prob' is not one of probability, logit"),
        ({"show": "drops"}, "show='drops' is not one of drop, probability. Did you mean drop"),
        ({"internal_batch_size": 0}, "internal_batch_size is a whole number from 1, got 0"),
    ],
)
def test_wrong_options(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        Occlusion(**wrong)


def test_a_certain_class_has_nothing_to_lose_but_rounding():
    net, images = build(StagedNet), pictures(2)
    with torch.no_grad():
        net.fc.bias.copy_(torch.tensor([60.0, 0, 0, 0]))
    found = explain(net, images, [Occlusion(6, 6)], 0)["occlusion"]
    assert found.probability.eq(1).all() and found.degenerate.all()
