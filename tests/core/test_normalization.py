import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.core.normalization import IMAGENET, Normalization

finite = st.floats(-5, 5)
positive = st.floats(0.01, 5)


def test_by_hand():
    normalization = Normalization((0.5, 0.0), (0.25, 2.0))
    pixels = torch.tensor([1.0, 0.5])[:, None, None].expand(2, 3, 4)
    assert normalization.to_input(pixels)[:, 0, 0].tolist() == [2.0, 0.25]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(finite, positive), min_size=1, max_size=4), st.booleans())
def test_there_and_back(channels, batched):
    mean, std = zip(*channels)
    normalization = Normalization(mean, std)
    pixels = torch.rand(*([2] if batched else []), len(mean), 3, 5, dtype=torch.float64)
    torch.testing.assert_close(normalization.to_pixels(normalization.to_input(pixels)), pixels, atol=1e-9, rtol=0)


def test_keeps_type_and_reads_integers_as_numbers():
    assert IMAGENET.to_input(torch.zeros(3, 2, 2, dtype=torch.float64)).dtype == torch.float64
    whole = IMAGENET.to_input(torch.ones(3, 2, 2, dtype=torch.uint8))
    torch.testing.assert_close(whole, IMAGENET.to_input(torch.ones(3, 2, 2)))


def test_equal_settings_are_equal_whatever_they_were_given_as():
    assert Normalization([0, 0], [1, 1]) == Normalization((0.0, 0.0), (1.0, 1.0))
    assert len({Normalization([0], [1]), Normalization((0.0,), (1.0,))}) == 1


@pytest.mark.parametrize(("mean", "std"), [((0, 0), (1,)), ((0,), (0,)), ((0,), (-1,)), ((0,), (float("nan"),))])
def test_bad_settings(mean, std):
    with pytest.raises(ValueError, match="one mean and one positive std per channel"):
        Normalization(mean, std)
