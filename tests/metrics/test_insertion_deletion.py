from math import ceil

import numpy as np
import pytest
import torch
from deletion import CURVES, Constant, Share, area, curves, double_net, double_pictures, measured, naive, sparse, untied
from helpers.toys import pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.core.baselines import rise_blur
from livecam.metrics.insertion_deletion import (
    InsertionDeletion,
    auc,
    perturbation_curves,
    tied_share,
)

# What is computed


@pytest.mark.parametrize("step", [1, 4, 5, 34, 35, 80])
def test_against_pixel_by_pixel(step):
    # 35 pixels: a step of 4 or 34 leaves a short last one.
    net, images, maps, targets = double_net(), double_pictures(2, (7, 5)), untied(), torch.tensor([1, 3])
    metric = InsertionDeletion("zero_normalized", "rise", step=step)
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
    found = measured(InsertionDeletion("zero_normalized", step=2), Share(), images, torch.tensor([1]), maps)
    assert float(found["deletion"]) == pytest.approx((0.6 + 0.15) / 2, abs=1e-12)
    assert float(found["insertion"]) == pytest.approx((0.3 + 0.75) / 2, abs=1e-12)


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("baseline", ["blur51", "rise", "mean"])
def test_a_constant_network_scores_its_probability(p, baseline):
    found = measured(InsertionDeletion(baseline), Constant(p), pictures(2), torch.tensor([1, 0]), untied(2, (24, 24)))
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
    found = measured(InsertionDeletion("zero_normalized", step=step), Share(), images, torch.tensor([1]), maps)
    for name in CURVES:
        assert float(found[name]) == pytest.approx((level + 0) / 2, abs=1e-12)


def test_the_object_first_and_the_object_last():
    region = torch.zeros(8, 8, dtype=torch.bool)
    region[2:6, 2:6] = True  # a quarter
    images = torch.full((3, 3, 8, 8), 0.8, dtype=torch.float64)
    noise = untied(1, (8, 8))[0]
    maps = torch.stack([region + noise / 2, noise, ~region + noise / 2])
    metric = InsertionDeletion("zero_normalized", step=4)
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
    one, other = (metric.per_image(net, images, torch.tensor([1]), m) for m in (maps, 3 * maps.exp() - 7))
    assert torch.equal(one, other)


# Points of the curves


def test_points_of_the_curves():
    net, images, maps = double_net(), double_pictures(2, (10, 10)), untied(2, (10, 10))
    targets = torch.tensor([2, 0])
    metric = InsertionDeletion("zero_normalized", step=10, curves=True)
    names = [f"{curve}_at_{percent}" for curve in CURVES for percent in ("00", *map(str, range(10, 101, 10)))]
    assert list(metric.value_names[4:]) == names and len(InsertionDeletion().value_names) == 4
    assert len(InsertionDeletion.value_names) == 4
    found = metric.per_image(net, images, targets, maps)
    deletion, insertion = curves(net, images, targets, maps, 10)
    torch.testing.assert_close(found[4:15], insertion.T, atol=1e-12, rtol=0)
    torch.testing.assert_close(found[15:], deletion.T, atol=1e-12, rtol=0)
    metric.update(net, images, targets, maps)
    assert float(metric.compute()["deletion_at_10"]) == pytest.approx(float(deletion[:, 1].mean()), abs=1e-12)


@pytest.mark.parametrize("step", [1, 3, 8, 34, 35, 99])
def test_points_between_steps_by_numpy(step):
    net, images, maps, targets = double_net(), double_pictures(1, (7, 5)), untied(1), torch.tensor([1])
    found = InsertionDeletion("zero_normalized", step=step, curves=True).per_image(net, images, targets, maps)[:, 0]
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
        metric = InsertionDeletion("zero_normalized", step=1, ties=ties)
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
    found = measured(InsertionDeletion("zero_normalized", step=4, ties=ties), net, images, targets, maps)
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
    found = measured(InsertionDeletion("zero_normalized", step=4, seed=5), net, images, targets, maps)
    generator, blank = torch.Generator().manual_seed(5), torch.zeros_like(images[0])
    orders = [torch.randperm(36, generator=generator).tolist() for _ in range(3)]
    both = [naive(net, images[0], 1, maps[0], blank, blank, 4, order) for order in orders]
    areas = torch.tensor([[area(curve) for curve in pair] for pair in both], dtype=torch.float64)
    assert areas.std(0).min() > 1e-6
    assert float(found["deletion"]) == pytest.approx(float(areas[:, 0].mean()), abs=1e-12)
    assert float(found["insertion"]) == pytest.approx(float(areas[:, 1].mean()), abs=1e-12)


def test_seeds():
    net, images, targets = double_net(), double_pictures(2, (10, 10)), torch.tensor([1, 2])
    tied, strict = sparse().expand(2, -1, -1), untied(2, (10, 10))

    def value(maps, seed):
        return InsertionDeletion(step=9, seed=seed).per_image(net, images, targets, maps)

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
    values = metric.per_image(net, images, torch.tensor([1, 2, 3]), maps)
    assert values.isnan().all(0).tolist() == [True, True, False] and values[:, 2].isfinite().all()
    metric.update(net, images, torch.tensor([1, 2, 3]), maps)
    assert [int(metric.compute()[key]) for key in ("n", "undefined")] == [1, 2]
