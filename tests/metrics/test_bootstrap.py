import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.metrics.summary import RESAMPLES, interval, resamples


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), count=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_every_resample_draws_as_many_as_there_are(n, count, seed):
    counts = resamples(n, count, seed)
    assert counts.dtype == torch.long and counts.shape == (count, n)
    assert int(counts.min()) >= 0 and counts.sum(1).tolist() == [n] * count


def test_one_seed_one_result_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = resamples(20, 50, seed=7)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, resamples(20, 50, seed=7))
    assert not torch.equal(first, resamples(20, 50, seed=8))


def test_counts_have_the_moments_of_a_multinomial():
    n = 10
    counts = resamples(n, 20000).double()
    # Each count is binomial (n, 1 / n); two of them correlate by -1 / (n - 1).
    torch.testing.assert_close(counts.mean(0), torch.ones(n).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(counts.var(0), torch.full((n,), 1 - 1 / n).double(), atol=0.05, rtol=0)
    between = torch.corrcoef(counts.T)[~torch.eye(n, dtype=torch.bool)]
    torch.testing.assert_close(between.mean(), torch.tensor(-1 / (n - 1)).double(), atol=0.01, rtol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_interval_of_a_mean_of_normals(seed):
    n = 400
    values = 3 + 2 * torch.randn(n, generator=torch.Generator().manual_seed(seed)).double()
    low, high = interval(resamples(n, RESAMPLES, seed).double() @ values / n)
    # The bootstrap's own law: the mean of a resample is nearly normal about the sample's mean.
    half = 1.959964 * values.std(correction=0) / n**0.5
    assert float(low) == pytest.approx(float(values.mean() - half), abs=0.12 * float(half))
    assert float(high) == pytest.approx(float(values.mean() + half), abs=0.12 * float(half))


def test_about_95_of_100_intervals_cover_the_truth():
    n, generator = 60, torch.Generator().manual_seed(0)
    values = torch.randn(n, 400, generator=generator).double()
    low, high = interval(resamples(n, 1000).double() @ values / n)
    covered = float(((low <= 0) & (high >= 0)).double().mean())
    # A percentile interval of 60 values covers a little less than 95 %.
    assert 0.90 < covered < 0.97


def test_percentiles_by_hand_column_by_column():
    samples = torch.stack([torch.arange(0.0, 41), torch.arange(0.0, 41).flip(0) * 10], 1)
    assert interval(samples).tolist() == [[1.0, 10.0], [39.0, 390.0]]


def test_undefined_resamples_are_ignored():
    nan = torch.nan
    assert interval(torch.tensor([nan, 4.0, nan, 4.0])).tolist() == [4.0, 4.0]
    assert interval(torch.full((3, 2), nan)).isnan().all()


def test_one_image_has_no_spread():
    assert torch.equal(resamples(1, 4), torch.ones(4, 1, dtype=torch.long))


@pytest.mark.parametrize(("n", "count"), [(0, 10), (10, 0)])
def test_nothing_to_draw(n, count):
    with pytest.raises(ValueError, match="at least one image and one resample"):
        resamples(n, count)
