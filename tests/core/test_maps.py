from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from helpers.toys import StagedNet, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from livecam.core.maps import is_degenerate, minmax, resize
from livecam.explain import Explainer, explain

values = st.floats(-100, 100, width=32)
maps = arrays.arrays(np.float32, st.tuples(st.just(3), st.integers(1, 5), st.integers(1, 6)), elements=values)


@settings(max_examples=60, deadline=None)
@given(maps)
def test_minmax_is_exactly_zero_to_one_or_zeros(array):
    given_maps = torch.from_numpy(array)
    scaled, empty = minmax(given_maps), is_degenerate(given_maps)
    assert scaled.isfinite().all()
    assert scaled[empty].eq(0).all()
    assert scaled[~empty].flatten(1).amin(1).eq(0).all() and scaled[~empty].flatten(1).amax(1).eq(1).all()


@settings(max_examples=30, deadline=None)
@given(maps, st.sampled_from([1e-20, 1e-6, 0.5, 1.0, 64.0, 1e6]))
def test_scale_does_not_matter(array, factor):
    one = torch.from_numpy(array).double()
    assert torch.equal(is_degenerate(one), is_degenerate(one * factor))
    torch.testing.assert_close(minmax(one * factor), minmax(one), atol=1e-6, rtol=0)


def test_samples_do_not_see_each_other():
    small, large = torch.rand(1, 4, 4), 1000 * torch.rand(1, 4, 4)
    both = minmax(torch.cat([small, large]))
    torch.testing.assert_close(both, torch.cat([minmax(small), minmax(large)]), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "noise", "genuine"), [(torch.float32, 1e-6, 1e-4), (torch.float64, 1e-13, 1e-8)], ids=str
)
def test_rounding_noise_is_no_map_and_small_maps_are_maps(dtype, noise, genuine):
    ramp = torch.linspace(0, 1, 9, dtype=dtype).view(1, 3, 3)
    assert is_degenerate(1 + noise * ramp).all() and minmax(1 + noise * ramp).eq(0).all()
    assert not is_degenerate(1 + genuine * ramp).any()
    assert not is_degenerate(1e-30 * ramp).any()
    torch.testing.assert_close(minmax(1e-30 * ramp), ramp)
    assert is_degenerate(torch.zeros(1, 3, 3, dtype=dtype)).all()


def test_bilinear_by_hand():
    # Half-pixel centers (align_corners=False): the outermost quarters repeat the border.
    ramp = torch.tensor([[[0.0, 1.0]]])
    assert resize(ramp, (1, 4)).tolist() == [[[0.0, 0.25, 0.75, 1.0]]]
    torch.testing.assert_close(resize(ramp, (1, 4), align_corners=True), torch.tensor([[[0, 1 / 3, 2 / 3, 1]]]))


def test_a_map_of_the_right_size_is_itself():
    found = torch.rand(2, 5, 7)
    assert resize(found, torch.Size([5, 7])) is found


@dataclass(frozen=True)
class WithGraph(Explainer):
    """Anybody's method, which does not think of autograd."""

    method: ClassVar[str] = "with_graph"

    def explain(self, recording):
        weight = torch.ones(7, 7, requires_grad=True)
        with torch.enable_grad():
            return weight * torch.arange(49.0).view(7, 7).expand(len(recording.images), 7, 7)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_maps_are_enlarged_when_asked_for_in_any_mode_once_and_without_a_graph(mode):
    net, images = build(StagedNet), pictures(2, (32, 32))
    with mode():
        found = explain(net, images, [WithGraph()], 1)["with_graph"]
    assert not {"map", "energy"} & set(vars(found))
    for maps in (found.map, found.energy):
        assert maps.shape == (2, 32, 32) and maps.dtype == torch.float32 and not maps.requires_grad
    assert found.map is found.map and found.energy is found.energy
    torch.testing.assert_close(found.energy / 48, found.map)
