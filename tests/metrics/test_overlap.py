import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.metrics.overlap import MaskOverlap, average_precision, best_iou, iou


def random(seed, count=3, size=(6, 7), levels=None):
    """Maps in [0, 1], of few levels where there shall be ties, and masks that are never empty."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, *size, generator=generator)
    if levels:
        maps = (maps * levels).floor() / levels
    masks = torch.rand(count, *size, generator=generator) < 0.3
    masks[:, 2, 3] = True
    return maps, masks


def found(maps, masks):
    return dict(zip(MaskOverlap.value_names, MaskOverlap().per_image(maps, masks)))


def test_by_hand():
    maps = torch.tensor([[[1.0, 0.6, 0.4], [0.5, 0.2, 0.0]]])
    mask = torch.tensor([[[True, False, True], [True, False, False]]])
    values = found(maps, mask)
    # At 0.5: three pixels, two of them in the mask of three. At 0.15: five, three. Best at 0.4: four, three.
    assert values["overlap"].item() == 2 / 4 and values["iou_15"].item() == 3 / 5 and values["best"].item() == 3 / 4
    # Ranking: hit, miss, hit, hit.
    assert values["average_precision"].item() == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert values["chance"].item() == 3 / 6


def test_a_map_that_is_the_mask_and_one_that_is_disjoint():
    _, masks = random(0)
    perfect, opposite = found(masks.float(), masks), found((~masks).float(), masks)
    for part in ("overlap", "iou_15", "best", "average_precision"):
        assert perfect[part].tolist() == [1, 1, 1]
    share = masks.double().mean((1, 2))
    for part in ("overlap", "iou_15"):
        assert opposite[part].tolist() == [0, 0, 0]
    for part in ("best", "average_precision"):
        torch.testing.assert_close(opposite[part], share, msg="the threshold that takes everything is all that is left")


def test_a_zero_map_selects_nothing_and_an_empty_mask_is_undefined():
    maps, masks = random(1, 4)
    maps[1], masks[2], maps[3], masks[3] = 0, False, 0, False
    values = found(maps, masks)
    assert values["overlap"][1] == 0 and values["iou_15"][1] == 0
    assert values["average_precision"][1] == values["best"][1] == values["chance"][1]
    assert all(value.isnan().tolist() == [False, False, True, True] for value in values.values())
    metric = MaskOverlap()
    metric.update(maps, masks)
    result = metric.compute()
    assert [int(result[key]) for key in ("n", "undefined", "degenerate")] == [2, 2, 2]
    assert float(result["overlap"]) == pytest.approx(float(values["overlap"][0] / 2))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.sampled_from([None, 1, 2, 5, 20]))
def test_the_best_threshold_by_trying_all(seed, levels):
    maps, masks = random(seed, levels=levels)
    for one, mask, best in zip(maps, masks, best_iou(maps, masks)):
        tried = [((one >= t) & mask).sum().item() / ((one >= t) | mask).sum().item() for t in one.unique()]
        assert best.item() == max(tried)
    values = found(maps, masks)
    for lower in ("overlap", "iou_15", "chance"):
        assert (values["best"] >= values[lower]).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.sampled_from([None, 1, 2, 5, 20]))
def test_average_precision_is_that_of_torchmetrics(seed, levels):
    from torchmetrics.functional.classification import binary_average_precision

    maps, masks = random(seed, levels=levels)
    expected = [binary_average_precision(m.flatten().double(), t.flatten().long()) for m, t in zip(maps, masks)]
    torch.testing.assert_close(average_precision(maps, masks), torch.stack(expected).double(), atol=1e-6, rtol=0)


def test_scale_does_not_change_a_ranking():
    maps, masks = random(2)
    for other in (maps * 100 - 7, maps * 1e-20, maps.double().exp()):
        torch.testing.assert_close(average_precision(other, masks), average_precision(maps, masks))
        torch.testing.assert_close(best_iou(other, masks), best_iou(maps, masks))


def test_random_rankings_have_the_average_precision_of_chance():
    maps, masks = random(3, 200, (20, 20))
    values = found(maps, masks[:1].expand(200, -1, -1))
    # Over all permutations of n pixels, P of them right: the precision at each right pixel counts that pixel itself.
    n, right = 400, int(masks[0].sum())
    first = sum(1 / rank for rank in range(1, n + 1)) / n
    expected = first + (right - 1) / (n - 1) * (1 - first)
    assert values["average_precision"].mean().item() == pytest.approx(expected, abs=0.005)
    assert values["chance"][0].item() == right / n == pytest.approx(expected, abs=0.02)


def test_both_empty_is_not_a_number():
    empty = torch.zeros(1, 3, 3, dtype=torch.bool)
    assert iou(empty, empty).isnan().all() and iou(empty, ~empty).tolist() == [0]


def test_neighbors_in_the_batch_do_not_matter():
    maps, masks = random(4)
    alone = torch.cat([MaskOverlap().per_image(maps[i : i + 1], masks[i : i + 1]) for i in range(3)], 1)
    assert torch.equal(MaskOverlap().per_image(maps, masks), alone)


def test_contract():
    assert (MaskOverlap.name, MaskOverlap.uses, MaskOverlap.value_names[0]) == ("overlap", "map", "overlap")
    assert MaskOverlap.inputs == set(["maps", "masks"]) and MaskOverlap.higher_is_better
    maps, masks = random(5)
    assert torch.equal(MaskOverlap().per_image(maps, masks.float()), MaskOverlap().per_image(maps, masks))
    with pytest.raises(ValueError, match="differ in shape: resize the masks"):
        MaskOverlap().per_image(maps, masks[:, :-1])
