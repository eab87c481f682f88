import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.metrics import Sharpness
from livecam.metrics.sharpness import gini, hoyer


def values(maps):
    metric = Sharpness()
    metric.update(maps)
    return {key: float(value) for key, value in metric.compute().items()}


def test_a_single_pixel():
    one = torch.zeros(1, 5, 8)
    one[0, 2, 3] = 7.0
    found = values(one)
    assert found["sharpness"] == pytest.approx(1 - 1 / 40)
    assert found["hoyer"] == pytest.approx(1)
    assert found["area"] == pytest.approx(1 / 40)
    # Two of 4 * 8 vertical and two of 5 * 7 horizontal neighbors differ, by the whole maximum.
    assert found["edges"] == pytest.approx((2 / 32 + 2 / 35) / 2)


def test_uniform_energy_has_no_defined_sharpness_but_the_functions_give_zero():
    flat = torch.full((1, 5, 8), 3.0)
    assert float(gini(flat)) == pytest.approx(0, abs=1e-12)
    assert float(hoyer(flat)) == pytest.approx(0, abs=1e-12)
    metric = Sharpness()
    metric.update(torch.cat([flat, torch.zeros(1, 5, 8)]))
    result = metric.compute()
    assert result["sharpness"].isnan()
    assert [int(result[key]) for key in ("n", "undefined", "degenerate")] == [0, 2, 2]


def test_half_of_the_pixels():
    half = torch.zeros(1, 4, 6)
    half[:, :, 3:] = 0.2
    found = values(half)
    assert found["sharpness"] == pytest.approx(0.5)
    assert found["hoyer"] == pytest.approx((24**0.5 - 12**0.5) / (24**0.5 - 1))
    assert found["area"] == pytest.approx(0.5)
    assert found["edges"] == pytest.approx((0 + 1 / 5) / 2)


def test_area_counts_pixels_above_half_the_maximum():
    assert values(torch.tensor([[[2.0, 1.1], [1.0, 0.9]]]))["area"] == pytest.approx(2 / 4)


def test_gini_by_its_definition():
    maps = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    flat = maps.flatten(1)
    differences = (flat[:, :, None] - flat[:, None, :]).abs().mean((1, 2))
    torch.testing.assert_close(gini(maps), differences / (2 * flat.mean(1)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), exponent=st.integers(-25, 25))
def test_scale_does_not_matter(seed, exponent):
    maps = torch.rand(2, 6, 7, generator=torch.Generator().manual_seed(seed))
    one, other = values(maps), values(maps * 2.0**exponent)
    assert one == pytest.approx(other, abs=1e-9)
    assert 0 <= one["sharpness"] <= 1 - 1 / 42 and 0 <= one["hoyer"] <= 1


def test_a_sharper_map_scores_higher():
    grid = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 31), torch.linspace(-1, 1, 31), indexing="ij"))
    narrow, wide = (torch.exp(-grid.square().sum(0) / (2 * s**2))[None] for s in (0.1, 0.4))
    assert values(narrow)["sharpness"] > values(wide)["sharpness"]
    assert values(narrow)["hoyer"] > values(wide)["hoyer"]
    assert values(narrow)["area"] < values(wide)["area"]


def test_maps_without_contrast_are_left_out_of_the_mean():
    one = torch.zeros(1, 5, 8)
    one[0, 2, 3] = 1
    alone, with_flat = values(one), values(torch.cat([one, torch.full((1, 5, 8), 0.3)]))
    assert with_flat["sharpness"] == alone["sharpness"]
    assert (with_flat["n"], with_flat["undefined"], with_flat["degenerate"]) == (1, 1, 1)


MAPS = {
    "noise": lambda g: torch.rand(2, 40, 50, generator=g),
    "as fine as a layer": lambda g: torch.nn.functional.interpolate(
        torch.randn(2, 1, 7, 7, generator=g).relu(), (56, 56)
    )[:, 0],
    "smooth": lambda g: torch.nn.functional.interpolate(torch.rand(2, 1, 7, 7, generator=g), (56, 56), mode="bilinear")[
        :, 0
    ],
    "nearly uniform": lambda g: 1 + 1e-3 * torch.rand(2, 40, 50, generator=g),
    "heavy tails": lambda g: torch.randn(2, 40, 50, generator=g).mul(4).exp(),
    "one pixel above dust": lambda g: torch.cat([torch.ones(2, 1, 50), 1e-6 * torch.rand(2, 39, 50, generator=g)], 1),
    "few values": lambda g: torch.randint(0, 4, (2, 40, 50), generator=g).float(),
    "tiny": lambda g: 1e-30 * torch.rand(2, 40, 50, generator=g),
}


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("seed", range(3))
def test_ranks_of_a_histogram_are_as_good_as_sorting(kind, seed):
    maps = MAPS[kind](torch.Generator().manual_seed(seed))
    flat = maps.flatten(1).double().sort(1).values
    size = flat.shape[1]
    rank = torch.arange(1, size + 1, dtype=torch.float64)
    expected = ((2 * rank - size - 1) * flat).sum(1) / (size * flat.sum(1))
    torch.testing.assert_close(gini(maps), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(gini(maps.double()), expected, atol=1e-5, rtol=0)
