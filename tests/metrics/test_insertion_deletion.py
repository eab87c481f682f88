from math import ceil

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.transforms.v2.functional import gaussian_blur
from toys import GapNet, StagedNet, build, pictures

from livecam.metrics.insertion_deletion import (
    InsertionDeletion,
    auc,
    blur51,
    perturbation_curves,
    rise_blur,
    substrate_of,
    tied_share,
)
from livecam.normalisation import IMAGENET
from livecam.progress import reporting_to

CURVES = ("insertion", "deletion")


class Share(nn.Module):
    """Its probability is the mean of the first channel inside a region: linear in every pixel; one logit."""

    def __init__(self, region=None):
        super().__init__()
        self.region, self.sizes = region, []

    def forward(self, images):
        self.sizes.append(len(images))
        seen = images[:, 0].flatten(1) if self.region is None else images[:, 0][:, self.region]
        return torch.logit(seen.mean(1))


class Constant(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.logit = nn.Parameter(torch.logit(torch.tensor(p, dtype=torch.float64)), requires_grad=False)

    def forward(self, images):
        return self.logit.expand(len(images))


def untied(count=2, size=(7, 5), seed=0):
    """Maps of which no two pixels are equal."""
    generator = torch.Generator().manual_seed(seed)
    pixels = size[0] * size[1]
    return torch.stack([torch.randperm(pixels, generator=generator).view(size) / (pixels - 1) for _ in range(count)])


def sparse(size=(10, 10), share=0.05, seed=0):
    """A map that is exactly zero but for a share of its pixels, which lie in the lower half."""
    pixels = size[0] * size[1]
    found = torch.zeros(pixels)
    place = pixels // 2 + torch.randperm(pixels // 2, generator=torch.Generator().manual_seed(seed))
    found[place[: round(share * pixels)]] = 1 - torch.rand(round(share * pixels)) / 2
    return found.view(1, *size)


def double_net(make=GapNet, **kwargs):
    return build(make, **kwargs).double()


def double_pictures(*args, **kwargs):
    return pictures(*args, **kwargs).double()


def curves(net, images, targets, maps, step, ties=None, **kwargs):
    """Deletion and insertion curve against zeros, ties row by row."""
    ties = torch.arange(maps[0].numel())[None] if ties is None else ties
    found = perturbation_curves(net, images, targets, maps, torch.zeros_like(images), ties=ties, step=step, **kwargs)
    return found.deletion, found.insertion


def naive(net, image, target, scores, blank, start, step, order):
    """Both curves pixel by pixel; ``order`` says which of equal pixels comes first."""
    width = image.shape[2]
    place = {pixel: number for number, pixel in enumerate(order)}
    ranked = sorted(range(scores.numel()), key=lambda pixel: (-float(scores.flatten()[pixel]), place[pixel]))
    found = []
    for now, goal in ((image.clone(), blank), (start.clone(), image)):
        curve = [net(now[None]).softmax(1)[0, target]]
        for begin in range(0, len(ranked), step):
            for pixel in ranked[begin : begin + step]:
                now[:, pixel // width, pixel % width] = goal[:, pixel // width, pixel % width]
            curve.append(net(now[None]).softmax(1)[0, target])
        found.append(torch.stack(curve).detach())
    return found


def area(curve):
    return float(sum(curve[:-1] + curve[1:]) / 2 / (len(curve) - 1))


def measured(metric, *args, **kwargs):
    return dict(zip(metric.parts, metric.measure(*args, **kwargs)))


# What is computed


@pytest.mark.parametrize("step", [1, 4, 5, 34, 35, 80])
def test_against_pixel_by_pixel(step):
    # 35 pixels: a step of 4 or 34 leaves a short last one.
    net, images, maps, targets = double_net(), double_pictures(2, (7, 5)), untied(), torch.tensor([1, 3])
    metric = InsertionDeletion("zero_normalised", "rise", step=step)
    found = measured(metric, net, images, targets, maps)
    blank, start = torch.zeros_like(images), rise_blur(images)
    both = perturbation_curves(net, images, targets, maps, blank, start, ties=torch.arange(35)[None], step=step)
    assert both.pixels.tolist() == [*range(0, 35, step), 35]
    for i in range(2):
        deletion, insertion = naive(net, images[i], targets[i], maps[i], blank[i], start[i], step, range(35))
        torch.testing.assert_close(both.deletion[i], deletion, atol=1e-12, rtol=0)
        torch.testing.assert_close(both.insertion[i], insertion, atol=1e-12, rtol=0)
        assert len(deletion) == ceil(35 / step) + 1
        assert float(found["deletion"][i]) == pytest.approx(area(deletion), abs=1e-12)
        assert float(found["insertion"][i]) == pytest.approx(area(insertion), abs=1e-12)
        assert float(found["insertion_deletion"][i]) == pytest.approx(area(insertion) - area(deletion), abs=1e-12)
    assert found["deletion"].std() > 1e-3 and found["tied"].tolist() == [0, 0]


def test_area_by_hand_counts_a_short_last_step_as_full():
    assert auc(torch.tensor([[1.0, 0.5, 0.25]])).tolist() == [(0.75 + 0.375) / 2]
    # 3 pixels, 2 per step: 0.9 -> 0.3 -> 0; against the fraction of pixels it would be 0.45.
    images, maps = torch.full((1, 3, 1, 3), 0.9, dtype=torch.float64), torch.tensor([[[3.0, 2.0, 1.0]]])
    found = measured(InsertionDeletion("zero_normalised", step=2), Share(), images, torch.tensor([1]), maps)
    assert float(found["deletion"]) == pytest.approx((0.6 + 0.15) / 2, abs=1e-12)
    assert float(found["insertion"]) == pytest.approx((0.3 + 0.75) / 2, abs=1e-12)


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("substrate", ["blur51", "rise", "mean"])
def test_a_constant_network_scores_its_probability(p, substrate):
    found = measured(InsertionDeletion(substrate), Constant(p), pictures(2), torch.tensor([1, 0]), untied(2, (24, 24)))
    for name in CURVES:
        assert found[name].tolist() == pytest.approx([p, 1 - p], abs=1e-12)
    assert found["insertion_deletion"].tolist() == pytest.approx([0, 0], abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.sampled_from([1, 3, 9, 27, 54]))
def test_deleting_is_inserting_in_the_reversed_order(seed, step):
    net, images, targets = double_net(), double_pictures(2, (9, 6), seed=seed), torch.tensor([0, 2])
    maps = untied(2, (9, 6), seed)
    deletion, _ = curves(net, images, targets, maps, step)
    _, insertion = curves(net, images, targets, 1 - maps, step)
    torch.testing.assert_close(deletion, insertion.flip(1), atol=1e-13, rtol=0)
    torch.testing.assert_close(auc(deletion), auc(insertion), atol=1e-13, rtol=0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.sampled_from([1, 6, 12, 72]), level=st.floats(0.1, 0.9))
def test_a_network_linear_in_how_much_is_seen(seed, step, level):
    images = torch.full((1, 3, 8, 9), level, dtype=torch.float64)
    maps = torch.rand(1, 8, 9, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    found = measured(InsertionDeletion("zero_normalised", step=step), Share(), images, torch.tensor([1]), maps)
    for name in CURVES:
        assert float(found[name]) == pytest.approx((level + 0) / 2, abs=1e-12)


def test_the_object_first_and_the_object_last():
    region = torch.zeros(8, 8, dtype=torch.bool)
    region[2:6, 2:6] = True  # a quarter
    images = torch.full((3, 3, 8, 8), 0.8, dtype=torch.float64)
    noise = untied(1, (8, 8))[0]
    maps = torch.stack([region + noise / 2, noise, ~region + noise / 2])
    metric = InsertionDeletion("zero_normalised", step=4)
    found = measured(metric, Share(region), images, torch.ones(3, dtype=torch.long), maps)
    # All falls within the first, or the last, quarter: a triangle of that width.
    assert float(found["deletion"][0]) == pytest.approx(0.8 / 8, abs=1e-12)
    assert float(found["insertion"][0]) == pytest.approx(0.8 * 7 / 8, abs=1e-12)
    overall = found["insertion_deletion"]
    assert float(overall[0]) == pytest.approx(0.6, abs=1e-12) and float(overall[2]) == pytest.approx(-0.6, abs=1e-12)
    assert overall[0] > overall[1] + 0.3 and overall[1] > overall[2] + 0.3


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_only_the_order_of_a_map_matters(seed):
    net, images, maps = double_net(), double_pictures(1, (6, 7)), untied(1, (6, 7), seed).double()
    metric = InsertionDeletion(step=5)
    one, other = (metric.measure(net, images, torch.tensor([1]), m) for m in (maps, 3 * maps.exp() - 7))
    assert torch.equal(one, other)


# Points of the curves


def test_points_of_the_curves():
    net, images, maps = double_net(), double_pictures(2, (10, 10)), untied(2, (10, 10))
    targets = torch.tensor([2, 0])
    metric = InsertionDeletion("zero_normalised", step=10, curves=True)
    names = [f"{curve}_at_{percent}" for curve in CURVES for percent in ("00", *map(str, range(10, 101, 10)))]
    assert list(metric.parts[4:]) == names and len(InsertionDeletion().parts) == 4
    assert len(InsertionDeletion.parts) == 4
    found = metric.measure(net, images, targets, maps)
    deletion, insertion = curves(net, images, targets, maps, 10)
    torch.testing.assert_close(found[4:15], insertion.T, atol=1e-12, rtol=0)
    torch.testing.assert_close(found[15:], deletion.T, atol=1e-12, rtol=0)
    metric.update(net, images, targets, maps)
    assert float(metric.compute()["deletion_at_10"]) == pytest.approx(float(deletion[:, 1].mean()), abs=1e-12)


@pytest.mark.parametrize("step", [1, 3, 8, 34, 35, 99])
def test_points_between_steps_by_numpy(step):
    net, images, maps, targets = double_net(), double_pictures(1, (7, 5)), untied(1), torch.tensor([1])
    found = InsertionDeletion("zero_normalised", step=step, curves=True).measure(net, images, targets, maps)[:, 0]
    deletion, insertion = curves(net, images, targets, maps, step)
    taken = [*range(0, 35, step), 35]
    for values, curve in ((found[4:15], insertion), (found[15:], deletion)):
        by_numpy = np.interp(np.linspace(0, 35, 11), taken, curve[0].numpy())
        assert values.tolist() == pytest.approx(by_numpy.tolist(), abs=1e-12)


# Ties


def test_share_of_tied_pixels_by_hand():
    maps = torch.tensor(
        [[[1.0, 2.0, 2.0, 3.0]], [[0.0, -0.0, 0.0, 0.0]], [[1.0, 2.0, 3.0, 4.0]], [[1.0, 2.0, 1.0, 2.0]]]
    )
    assert tied_share(maps).tolist() == [0.5, 1, 0, 1]
    assert tied_share(sparse()).tolist() == [0.95]


def test_the_order_of_ties_decides_the_score_of_sparse_maps():
    # The object is the upper half; what the map marks lies below it, and the rest is tied.
    region = torch.zeros(10, 10, dtype=torch.bool)
    region[:5] = True
    images, targets = torch.ones(1, 3, 10, 10, dtype=torch.float64) * 0.999, torch.tensor([1])
    found = {}
    for ties in ("random", "row_major", "numpy"):
        metric = InsertionDeletion("zero_normalised", step=1, ties=ties)
        found[ties] = {k: float(v) for k, v in measured(metric, Share(region), images, targets, sparse()).items()}
        assert found[ties]["tied"] == 0.95
    # Row by row: 5 pixels of the rest, the 50 of the object, 45 of the rest. From the end: all 50 of the rest first.
    assert found["row_major"]["deletion"] == pytest.approx(0.999 * (5 + 25) / 100, abs=1e-12)
    assert found["numpy"]["deletion"] == pytest.approx(0.999 * (50 + 25) / 100, abs=1e-12)
    # At random: 5 of the rest, then the object wears off evenly.
    assert found["random"]["deletion"] == pytest.approx(0.999 * (5 + 95 / 2) / 100, abs=0.06)


@pytest.mark.parametrize("ties", ["row_major", "numpy"])
def test_ties_in_a_fixed_order_against_pixel_by_pixel(ties):
    net, images, targets = double_net(), double_pictures(1, (7, 5)), torch.tensor([1])
    maps = torch.rand(1, 7, 5, generator=torch.Generator().manual_seed(4)).round(decimals=1)
    found = measured(InsertionDeletion("zero_normalised", step=4, ties=ties), net, images, targets, maps)
    order, blank = list(range(35)) if ties == "row_major" else list(range(34, -1, -1)), torch.zeros_like(images[0])
    assert tied_share(maps) > 0.5
    deletion, insertion = naive(net, images[0], 1, maps[0], blank, blank, 4, order)
    assert float(found["deletion"]) == pytest.approx(area(deletion), abs=1e-12)
    assert float(found["insertion"]) == pytest.approx(area(insertion), abs=1e-12)


def test_ties_as_numpy_sorts_them():
    net, images, targets = double_net(), double_pictures(1, (7, 5)), torch.tensor([1])
    maps = torch.rand(1, 7, 5, generator=torch.Generator().manual_seed(4)).round(decimals=1)
    found = measured(InsertionDeletion(step=4, ties="numpy"), net, images, targets, maps)
    place = np.empty(35)
    place[np.argsort(maps.numpy().ravel(), kind="stable")[::-1]] = np.arange(35)
    strict = torch.tensor(-place).view(1, 7, 5)
    expected = measured(InsertionDeletion(step=4), net, images, targets, strict)
    assert expected["tied"] == 0
    for name in CURVES:
        assert float(found[name]) == pytest.approx(float(expected[name]), abs=1e-13)


def test_random_orders_are_averaged_over():
    net, images, targets, maps = double_net(), double_pictures(1, (6, 6)), torch.tensor([1]), torch.zeros(1, 6, 6)
    found = measured(InsertionDeletion("zero_normalised", step=4, seed=5), net, images, targets, maps)
    generator, blank = torch.Generator().manual_seed(5), torch.zeros_like(images[0])
    orders = [torch.randperm(36, generator=generator).tolist() for _ in range(3)]
    both = [naive(net, images[0], 1, maps[0], blank, blank, 4, order) for order in orders]
    areas = torch.tensor([[area(curve) for curve in pair] for pair in both])
    assert areas.std(0).min() > 1e-6
    assert float(found["deletion"]) == pytest.approx(float(areas[:, 0].mean()), abs=1e-7)
    assert float(found["insertion"]) == pytest.approx(float(areas[:, 1].mean()), abs=1e-7)


def test_seeds():
    net, images, targets = double_net(), double_pictures(2, (10, 10)), torch.tensor([1, 2])
    tied, strict = sparse().expand(2, -1, -1), untied(2, (10, 10))

    def value(maps, seed):
        return InsertionDeletion(step=9, seed=seed).measure(net, images, targets, maps)

    assert torch.equal(value(tied, 3), value(tied, 3))
    assert not torch.allclose(value(tied, 3), value(tied, 4), atol=1e-6)
    assert torch.equal(value(strict, 3), value(strict, 4))


def test_constant_maps_score_and_are_counted():
    net, images = double_net(), double_pictures(2, (10, 10))
    metric = InsertionDeletion(step=10)
    metric.update(net, images, torch.tensor([1, 2]), torch.stack([torch.full((10, 10), 0.3), untied(1, (10, 10))[0]]))
    found = metric.compute()
    assert [int(found[key]) for key in ("n", "undefined", "degenerate")] == [2, 0, 1]
    assert float(found["tied"]) == 0.5 and found["insertion_deletion"].isfinite()


def test_a_map_that_is_not_finite_is_undefined():
    net, images, maps = double_net(), double_pictures(3, (10, 10)), untied(3, (10, 10))
    maps[0, 2, 3], maps[1, 0, 0] = torch.nan, torch.inf
    metric = InsertionDeletion(step=10, curves=True)
    values = metric.measure(net, images, torch.tensor([1, 2, 3]), maps)
    assert values.isnan().all(0).tolist() == [True, True, False] and values[:, 2].isfinite().all()
    metric.update(net, images, torch.tensor([1, 2, 3]), maps)
    assert [int(metric.compute()[key]) for key in ("n", "undefined")] == [1, 2]


# Cost, chunks, batches


def asked(maps, chunk=32, step=10, **kwargs):
    """How many images each forward had."""
    net = Share()
    images = torch.full((len(maps), 3, *maps.shape[1:]), 0.5)
    targets = torch.ones(len(maps), dtype=torch.long)
    InsertionDeletion(step=step, chunk=chunk, **kwargs).measure(net, images, targets, maps)
    return net.sizes


def test_cost_is_what_is_said():
    strict = untied(1, (10, 10))
    assert sum(asked(strict)) == 2 * 10
    assert sum(asked(strict, insertion_substrate="rise")) == 2 * 10 + 1
    assert sum(asked(strict, substrate="rise", insertion_substrate="rise")) == 2 * 10
    assert sum(asked(strict, step=30)) == 2 * 4
    assert sum(asked(strict, step=500)) == 2
    assert sum(asked(sparse())) == 2 * 10 + 4 * 9
    assert sum(asked(sparse(), ties="row_major")) == 2 * 10
    assert sum(asked(torch.cat([strict, sparse(), strict]))) == 3 * 2 * 10 + 4 * 9


def test_default_step_takes_112_steps_at_224():
    assert sum(asked(untied(1, (224, 224)), step=None, chunk=8)) == 2 * 112
    assert sum(asked(untied(1, (13, 9)), step=None)) == 2 * ceil(117 / 2)


def test_a_fifth_of_tied_pixels_is_not_much():
    def with_tied(count):
        maps = untied(1, (10, 10)).flatten(1)
        maps[0, :count] = 2.0
        return maps.view(1, 10, 10)

    assert [round(float(tied_share(with_tied(count))), 2) for count in (20, 21)] == [0.20, 0.21]
    assert [sum(asked(with_tied(count))) for count in (20, 21)] == [20, 56]


@pytest.mark.parametrize("chunk", [1, 7, 32, 1000])
def test_forwards_are_full_and_never_larger_than_a_chunk(chunk):
    maps = torch.cat([untied(2, (10, 10)), sparse()])
    sizes, count = asked(maps, chunk), 3 * 20 + 36
    assert sizes == [chunk] * (count // chunk) + [count % chunk] * (count % chunk > 0)
    net, images, targets = double_net(), double_pictures(3, (10, 10)), torch.tensor([0, 1, 2])
    one, other = (InsertionDeletion(step=10, chunk=c).measure(net, images, targets, maps) for c in (chunk, 5))
    torch.testing.assert_close(one, other, atol=1e-13, rtol=0)


def test_a_batch_is_its_images():
    net, images, targets = double_net(), double_pictures(4, (11, 8)), torch.tensor([3, 0, 1, 2])
    maps = torch.cat([sparse((11, 8)), untied(1, (11, 8)), torch.zeros(1, 11, 8), untied(1, (11, 8), seed=9)])
    metric = InsertionDeletion("mean", "rise", step=6, curves=True)
    whole = metric.measure(net, images, targets, maps)
    single = [metric.measure(net, images[i : i + 1], targets[i : i + 1], maps[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(whole, torch.cat(single, 1), atol=1e-13, rtol=0)
    order = [2, 0, 3, 1]
    turned = metric.measure(net, images[order], targets[order], maps[order])
    torch.testing.assert_close(turned, whole[:, order], atol=1e-13, rtol=0)


def test_progress_is_reported():
    told = []
    with reporting_to(lambda label, done, total: told.append((label, done, total))):
        asked(untied(1, (10, 10)), chunk=8)
    assert told == [("insertion and deletion", done, 20) for done in (8, 16, 20)]


# The network


def test_the_network_and_the_random_state_are_left_alone():
    net, images, targets, maps = double_net(), double_pictures(2, (10, 10)), torch.tensor([1, 2]), untied(2, (10, 10))
    metric = InsertionDeletion(step=10)
    expected = metric.measure(net, images, targets, maps)
    net.train()
    net.norm.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    given_images, given_maps = images.clone(), maps.clone()
    for context in (torch.enable_grad(), torch.no_grad(), torch.inference_mode()):
        with context:
            assert torch.equal(metric.measure(net, images, targets, maps), expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert modes == [module.training for module in net.modules()] and any(modes)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert torch.equal(images, given_images) and torch.equal(maps, given_maps)


def test_one_logit_knows_two_classes():
    net, images, maps = double_net(classes=1), double_pictures(2, (10, 10)), untied(2, (10, 10))
    metric = InsertionDeletion(step=10)
    zero, one = (measured(metric, net, images, torch.full((2,), target), maps) for target in (0, 1))
    for name in CURVES:
        torch.testing.assert_close(zero[name], 1 - one[name], atol=1e-12, rtol=0)
    assert (one["deletion"] - 0.5).abs().min() > 1e-3


def test_multilabel_probabilities_are_sigmoids():
    net, images, maps = double_net(), double_pictures(2, (10, 10)), untied(2, (10, 10))
    targets = torch.tensor([1, 2])
    metric = InsertionDeletion(step=100, curves=True)
    found = measured(metric, net, images, targets, maps, head="multilabel")
    clean, blurred = (net(x).sigmoid()[torch.arange(2), targets].detach() for x in (images, blur51(images)))
    torch.testing.assert_close(found["deletion_at_00"], clean, atol=1e-12, rtol=0)
    torch.testing.assert_close(found["deletion_at_100"], blurred, atol=1e-12, rtol=0)
    torch.testing.assert_close(found["insertion"], (clean + blurred) / 2, atol=1e-12, rtol=0)
    softmax = measured(metric, net, images, targets, maps)
    assert (softmax["insertion"] - found["insertion"]).abs().min() > 1e-3


@pytest.mark.parametrize("size", [(13, 21), (33, 9), (3, 3)])
def test_odd_sizes_and_single_precision(size):
    net, images, maps = build(StagedNet), pictures(2, size), untied(2, size)
    targets = torch.tensor([1, 2])
    single = InsertionDeletion(step=2).measure(net, images, targets, maps)
    assert single.dtype == torch.float64 and single.isfinite().all()
    double = InsertionDeletion(step=2).measure(net.double(), images.double(), targets, maps.double())
    torch.testing.assert_close(single, double, atol=1e-5, rtol=0)


# What takes the place of pixels


def test_blur51_is_torchvisions():
    images = double_pictures(2, (60, 47))
    torch.testing.assert_close(blur51(images), gaussian_blur(images, [51, 51], [50.0, 50.0]), atol=1e-7, rtol=0)
    single = images.float()
    torch.testing.assert_close(blur51(single), gaussian_blur(single, [51, 51], [50.0, 50.0]), atol=1e-5, rtol=0)
    assert (blur51(images) - images).abs().max() > 1


def test_rise_blur_is_that_of_its_code():
    delta = np.zeros((11, 11))
    delta[5, 5] = 1
    kernel = torch.tensor(scipy.ndimage.gaussian_filter(delta, 5)).expand(3, 1, 11, 11)
    for size in ((30, 23), (5, 9)):
        images = double_pictures(2, size)
        expected = F.conv2d(images, kernel, padding=5, groups=3)
        torch.testing.assert_close(rise_blur(images), expected, atol=1e-12, rtol=0)
    assert kernel[0, 0].std() / kernel[0, 0].mean() > 1e-3, "a plain box would do"


def test_where_no_kernel_of_51_fits():
    line = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).expand(1, 3, 1, 3)
    weight = torch.exp(-torch.tensor([4.0, 1, 0, 1, 4], dtype=torch.float64) / 5000)
    seen = torch.tensor([4.0, 2, 1, 2, 4, 2, 1], dtype=torch.float64)
    by_hand = [float((weight * seen[i : i + 5]).sum() / weight.sum()) for i in range(3)]
    assert blur51(line)[0, 0, 0].tolist() == pytest.approx(by_hand, abs=1e-12)
    flat = torch.full((1, 3, 9, 20), 0.7, dtype=torch.float64)
    torch.testing.assert_close(blur51(flat), flat, atol=1e-12, rtol=0)
    assert torch.equal(blur51(flat[..., :1, :1]), flat[..., :1, :1])


def test_each_curve_has_its_own_substrate():
    net, images, maps = double_net(), double_pictures(1, (30, 30)), untied(1, (30, 30))
    metric = InsertionDeletion((0.1, 0.2, 0.3), "rise", step=90, curves=True)
    found = measured(metric, net, images, torch.tensor([1]), maps, normalisation=IMAGENET)
    colour = (torch.tensor([0.1, 0.2, 0.3]) - torch.tensor(IMAGENET.mean)) / torch.tensor(IMAGENET.std)
    ends = [images, colour.double()[None, :, None, None].expand_as(images), rise_blur(images)]
    clean, coloured, blurred = (float(net(end).detach().softmax(1)[0, 1]) for end in ends)
    points = [float(found[f"{curve}_at_{at}"]) for curve in ("deletion", "insertion") for at in ("00", "100")]
    assert points == pytest.approx([clean, coloured, blurred, clean], abs=1e-6)
    assert abs(coloured - blurred) > 1e-3


def test_fills_are_substrates():
    images = pictures(2, (8, 8))
    assert torch.equal(substrate_of(images, "zero_normalised"), torch.zeros_like(images))
    assert torch.equal(substrate_of(images, "mean"), images.mean((2, 3), keepdim=True).expand_as(images))


def test_colours_need_a_normalisation():
    net, images, maps = build(GapNet), pictures(1, (8, 8)), untied(1, (8, 8))
    with pytest.raises(ValueError, match="pass normalisation="):
        InsertionDeletion("black").measure(net, images, torch.tensor([0]), maps)


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"substrate": "blur15"}, "substrate='blur15' is not one of .* Did you mean 'blur51'"),
        ({"insertion_substrate": "Rise"}, "insertion_substrate='Rise' is not one of .* Did you mean 'rise'"),
        ({"insertion_substrate": (0.1, 2.0, 0.3)}, "insertion_substrate is a colour of three values"),
        ({"ties": "rowmajor"}, "ties='rowmajor' is not one of random, row_major, numpy. Did you mean 'row_major'"),
        ({"step": 0}, "step is a whole number from 1, got 0"),
        ({"step": 2.5}, "step is a whole number from 1, got 2.5"),
        ({"chunk": 0}, "chunk is a whole number from 1"),
        ({"seed": -1}, "seed is a whole number from 0"),
    ],
)
def test_options_that_there_are_not(options, message):
    with pytest.raises(ValueError, match=message):
        InsertionDeletion(**options)


@pytest.mark.parametrize("shape", [(2, 8, 9), (1, 8, 8), (2, 1, 8, 8)], ids=str)
def test_maps_of_another_size(shape):
    with pytest.raises(ValueError, match=r"Maps .* do not fit images \(2, 3, 8, 8\): give one map"):
        InsertionDeletion().measure(build(GapNet), pictures(2, (8, 8)), torch.tensor([0, 1]), torch.rand(shape))


def test_what_it_reads():
    assert list(InsertionDeletion.reads().parameters) == ["model", "images", "targets", "maps", "head", "normalisation"]
    assert (InsertionDeletion.name, InsertionDeletion.uses) == ("insertion_deletion", "map")
    assert InsertionDeletion.parts[0] == "insertion_deletion" and InsertionDeletion.higher_is_better
