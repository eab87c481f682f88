import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.metrics.pointing import PointingGame, dilate, first_peak, peaks

NO_CLASS = torch.zeros(1, dtype=torch.long)


def at(*places, size=(6, 8)):
    """A map that is 1 at some pixels, 0.5 at (0, 0) and 0 elsewhere."""
    found = torch.zeros(1, *size)
    found[0, 0, 0] = 0.5
    for row, column in places:
        found[0, row, column] = 1
    return found


def box(top, left, bottom, right, size=(6, 8)):
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[0, top:bottom, left:right] = True
    return mask


def random_masks(seed, count=3, size=(9, 12), share=0.1):
    return torch.rand(count, *size, generator=torch.Generator().manual_seed(seed)) < share


def values(maps, masks, **options):
    return PointingGame(**options).per_image(maps, masks, torch.zeros(len(maps), dtype=torch.long)).tolist()


def test_two_categories_of_one_hit_in_one_and_none_in_three_give_one_half():
    metric = PointingGame()
    masks = box(2, 2, 4, 4).expand(4, -1, -1)
    maps = torch.cat([at((3, 3)), at((5, 5)), at((0, 7)), at((1, 2))])
    metric.update(maps, masks, torch.tensor([7, 999, 999, 999]))
    found = metric.compute()
    assert next(iter(found)) == "pointing" and float(found["pointing"]) == 0.5
    assert (int(found["n"]), int(found["undefined"]), int(found["degenerate"])) == (4, 0, 0)
    assert float(found["chance"]) == pytest.approx(4 / 48) and float(found["ties"]) == pytest.approx(1 / 48)


def test_a_map_that_is_the_mask_hits_and_its_complement_misses():
    masks = random_masks(0)
    for ties in ("share", "first"):
        assert values(masks.float(), masks, ties=ties)[0] == [1, 1, 1]
        assert values((~masks).float(), masks, ties=ties)[0] == [0, 0, 0]


def test_a_plateau_hits_by_its_share_or_by_its_first_pixel():
    plateau, mask = at((1, 3), (1, 4), (2, 3), (2, 4)), box(1, 4, 3, 6)
    assert values(plateau, mask) == [[2 / 4], [4 / 48], [4 / 48]]
    assert values(plateau, mask, ties="first") == [[0], [4 / 48], [4 / 48]]
    assert values(plateau, box(1, 0, 2, 4), ties="first")[0] == [1]
    assert first_peak(plateau).nonzero().tolist() == [[0, 1, 3]]
    assert peaks(plateau).sum() == 4


def test_what_points_nowhere_misses_and_what_has_no_object_is_undefined():
    metric = PointingGame()
    everything = torch.ones(1, 6, 8, dtype=torch.bool)
    maps = torch.cat([at((2, 2)), torch.zeros(2, 6, 8), at((2, 2))])
    masks = torch.cat([everything, everything, ~everything, ~everything])
    metric.update(maps, masks, NO_CLASS.expand(4))
    found = metric.compute()
    assert (int(found["n"]), int(found["undefined"]), int(found["degenerate"])) == (2, 2, 2)
    assert float(found["pointing"]) == 0.5, "one hit, one miss although the mask is everywhere"
    assert float(found["ties"]) == pytest.approx(1 / 48), "only the map that points somewhere"


def near(masks, tolerance):
    """Pixel by pixel and by the definition of TorchRay."""
    found = torch.zeros_like(masks)
    for image, mask in enumerate(masks.tolist()):
        inside = [(r, c) for r, line in enumerate(mask) for c, on in enumerate(line) if on]
        for r, line in enumerate(mask):
            for c in range(len(line)):
                found[image, r, c] = any((r - a) ** 2 + (c - b) ** 2 < tolerance**2 for a, b in inside)
    return found


@pytest.mark.parametrize("tolerance", [1, 1.01, 2, 5**0.5, 3, 5, 7.5, 15, 40])
def test_tolerance_by_brute_force(tolerance):
    masks = random_masks(1, count=2, share=0.03)
    assert masks.any((1, 2)).all()
    assert torch.equal(dilate(masks, tolerance), near(masks, tolerance))


def test_a_peak_at_the_distance_of_the_tolerance_misses():
    mask = box(10, 10, 11, 11, (40, 40))
    straight, oblique = at((10, 25), size=(40, 40)), at((19, 22), size=(40, 40))  # both 15 px away
    for peak in (straight, oblique):
        assert values(peak, mask, tolerance=15)[0] == [0]
        assert values(peak, mask, tolerance=15.01)[0] == [1]
    assert values(at((10, 24), size=(40, 40)), mask, tolerance=15)[0] == [1]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), low=st.floats(0, 12), more=st.floats(0, 12), ties=st.sampled_from(["share", "first"])
)
def test_more_tolerance_never_hits_less(seed, low, more, ties):
    masks, generator = random_masks(seed, share=0.05), torch.Generator().manual_seed(seed)
    masks[:, 4, 4] = True
    maps = torch.randint(0, 4, masks.shape, generator=generator).float() / 3
    strict, lenient = (torch.tensor(values(maps, masks, tolerance=t, ties=ties)) for t in (low, low + more))
    assert (strict[:2] <= lenient[:2]).all()
    assert torch.equal(dilate(masks, 0), masks)
    assert (strict[0] >= 0).all() and (lenient[1] <= 1).all()


def test_chance_is_what_a_random_point_scores():
    mask = random_masks(2, count=1)
    every_point = torch.eye(9 * 12).view(-1, 9, 12)
    hits = values(every_point, mask.expand(108, -1, -1), tolerance=2.5)[0]
    assert sum(hits) / len(hits) == pytest.approx(values(at((0, 1), size=(9, 12)), mask, tolerance=2.5)[1][0])


def test_neighbors_in_the_batch_do_not_matter():
    masks = random_masks(3)
    maps = torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(4))
    together = torch.tensor(values(maps, masks, tolerance=3))
    alone = torch.cat([torch.tensor(values(maps[i : i + 1], masks[i : i + 1], tolerance=3)) for i in range(3)], 1)
    assert torch.equal(together, alone)


def test_bad_input():
    with pytest.raises(ValueError, match=r"ties='fist' is not one of share, first\. Did you mean first\?"):
        PointingGame(ties="fist")
    for tolerance in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="tolerance is a distance in pixels from 0"):
            PointingGame(tolerance=tolerance)
    with pytest.raises(ValueError, match="differ in shape: resize the masks"):
        values(torch.rand(1, 6, 8), box(0, 0, 1, 1, (8, 6)))
    with pytest.raises(ValueError, match="Category 5 is out of range"):
        PointingGame(num_categories=5).update(at((1, 1)), box(0, 0, 2, 2), NO_CLASS + 5)


def test_contract():
    assert (PointingGame.name, PointingGame.uses, PointingGame.value_names[0]) == ("pointing", "map", "pointing")
    assert PointingGame.inputs == set(["maps", "masks", "categories"])
    assert PointingGame.higher_is_better
    masks = random_masks(5)
    assert values(masks.float(), masks.float()) == values(masks.float(), masks)
