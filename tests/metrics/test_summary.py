"""From per-image values to figures, paired differences and intervals, for every metric."""

import inspect
import math

import pytest
import torch
from helpers.toys import GapNet, build
from hypothesis import given, settings
from hypothesis import strategies as st

import livecam.metrics
from livecam.core.normalization import IMAGENET
from livecam.metrics import ImageMetric, LocalizationScore, PointingGame, ReferenceLocalizationScore, Sharpness
from livecam.metrics.summary import Figure, ImageValues, differences, summarize

METRICS = sorted(
    {
        kind
        for kind in vars(livecam.metrics).values()
        if isinstance(kind, type) and issubclass(kind, ImageMetric) and not inspect.isabstract(kind)
    },
    key=lambda kind: kind.__name__,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Plain:
    """One value per image, averaged; no metric of its own, which every list of all metrics would name."""

    value_names = ("plain",)
    aggregate = ImageMetric.aggregate


def plain(values) -> ImageValues:
    return ImageValues(Plain(), torch.as_tensor(values, dtype=torch.float64).reshape(1, -1))


def evidence(kind: type[ImageMetric], count: int) -> dict:
    """What the metric has to be given, for maps of which one is zero and one is flat."""
    maps = noise(count, 9, 9).float()
    maps[1], maps[2] = 0, 0.5
    masks = noise(count, 9, 9, seed=1) > 0.6
    masks[3] = False
    net = build(GapNet)
    offered = {
        "maps": maps,
        "masks": masks,
        "reference": noise(count, 9, 9, seed=2).float(),
        "categories": torch.arange(count) % 3,
        "targets": torch.arange(count) % 4,
        "images": noise(count, 3, 9, 9, seed=3).float(),
        "model": net,
        "head": "softmax",
        "normalization": IMAGENET,
        "explain": lambda model: maps + model.fc.weight.sum().detach() * noise(count, 9, 9, seed=4).float(),
    }
    return {name: offered[name] for name in kind.inputs if name in offered}


@pytest.mark.parametrize("kind", METRICS, ids=lambda kind: kind.__name__)
def test_figures_are_what_the_metric_itself_computes(kind):
    given, whole = evidence(kind, 10), kind()
    values = whole.per_image(**given)
    whole.update(**given)
    computed = whole.compute()
    found = ImageValues(kind(), values, given.get("categories"))
    figures = found.aggregate()
    assert set(computed) - set(figures) == {"n", "undefined", "degenerate"}
    for name, value in figures.items():
        assert value.shape == (1,)
        torch.testing.assert_close(value[0], computed[name].double(), equal_nan=True, atol=1e-12, rtol=1e-12)
    # A resample is the metric of the images as often as they were drawn.
    counts = torch.tensor([[2, 0, 1, 0, 3, 0, 0, 1, 2, 1], [0, 1, 0, 0, 0, 9, 0, 0, 0, 0]])
    drawn = found.aggregate(counts)
    for number, row in enumerate(counts):
        again, picked = kind(), torch.arange(10).repeat_interleave(row)
        again.add(
            values[:, picked],
            given["maps"][picked],
            given["categories"][picked] if "categories" in given else None,
        )
        weights = None
        if "categories" in given:
            # A category counts as often as its images were drawn, as a share of them.
            weights = torch.zeros(again.num_categories, dtype=torch.float64)
            for category in range(3):
                weights[category] = row[given["categories"] == category].double().mean()
        expected = again.aggregate(again.sums, again.defined, weights)
        for name, value in drawn.items():
            torch.testing.assert_close(value[number], expected[name].double(), equal_nan=True, atol=1e-12, rtol=1e-12)


def test_means_within_categories_come_first():
    """1 of 1 in one category and 0 of 3 in another are 50 %, of any categories, and in every resample."""
    values = torch.tensor([[1.0, 0, 0, 0], [0.2] * 4, [0.1] * 4], dtype=torch.float64)
    found = ImageValues(PointingGame(), values, torch.tensor([7, 900, 900, 900]))
    assert found.aggregate()["pointing"].tolist() == [0.5]
    drawn = found.aggregate(torch.tensor([[0, 1, 2, 1], [4, 0, 0, 0], [1, 0, 0, 3]]))
    # A category that is not drawn is no failure.
    assert drawn["pointing"].tolist() == [0.0, 1.0, 0.5]


def test_undefined_images_count_for_nothing():
    nan = math.nan
    values = torch.tensor([[0.5, nan, 0.1], [0.2, 0.9, 0.4], [0.3, 0.9, nan]], dtype=torch.float64)
    figures = ImageValues(LocalizationScore(), values).aggregate()
    by_hand = {"localization": 0.3, "chance": 0.3, "minmax": 0.3, "lift": 1.0, "minmax_lift": 1.0}
    assert {name: float(value) for name, value in figures.items()} == pytest.approx(by_hand)
    alone = summarize(ImageValues(LocalizationScore(), values[:, 1:2]))
    assert all(math.isnan(bound) for figure in alone.values() for bound in vars(figure).values())


def test_an_empty_set_has_no_figures():
    nothing = plain([])
    assert summarize(nothing) == {} and differences(nothing, nothing) == {}
    empty = ImageValues(PointingGame(), torch.empty(3, 0, dtype=torch.float64), torch.empty(0, dtype=torch.long))
    assert summarize(empty) == {}


def test_one_image_has_no_spread():
    assert summarize(plain([0.25])) == {"plain": Figure(0.25, 0.25, 0.25)}


def test_differences_need_the_same_images():
    with pytest.raises(ValueError, match="need the same images: there are 3 and 2"):
        differences(plain([1, 2, 3]), plain([1, 2]))


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.floats(-5, 5), min_size=2, max_size=12), shift=st.floats(-2, 2))
def test_a_set_differs_from_itself_by_nothing_and_from_a_shifted_one_by_the_shift(values, shift):
    one = plain(values)
    assert differences(one, one) == {"plain": Figure(0, 0, 0)}
    other = differences(plain([value + shift for value in values]), one)["plain"]
    assert list(vars(other).values()) == pytest.approx([shift] * 3, abs=1e-12)


def test_a_difference_is_paired():
    """What images share cancels: the interval is that of the differences, not of the two means."""
    n, common = 200, noise(200, seed=1) * 10
    gain = 0.5 + 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    figure = differences(plain(common + gain), plain(common))["plain"]
    reach = 1.96 * float(gain.std(correction=0)) / n**0.5
    assert figure.value == pytest.approx(float(gain.mean()))
    assert (figure.low, figure.high) == pytest.approx((figure.value - reach, figure.value + reach), abs=0.15 * reach)
    alone = summarize(plain(common))["plain"]
    assert figure.high - figure.low < 0.1 * (alone.high - alone.low)


def test_every_figure_has_its_difference():
    one, other = (torch.cat([noise(12, 6, seed=seed)]) for seed in (1, 2))
    metric = ReferenceLocalizationScore()
    found = differences(ImageValues(metric, one), ImageValues(metric, other))
    figures = [{k: float(v) for k, v in ImageValues(metric, values).aggregate().items()} for values in (one, other)]
    assert {k: figure.value for k, figure in found.items()} == pytest.approx(
        {k: figures[0][k] - figures[1][k] for k in figures[0]}
    )


def test_intervals_of_means_cover_the_truth_about_95_times_of_100():
    n, sets, generator = 50, 150, torch.Generator().manual_seed(3)
    # Skewed, as shares of energy are; the mean of an exponential is 1.
    values = -torch.rand(n, sets, generator=generator, dtype=torch.float64).log()
    figures = [summarize(plain(column))["plain"] for column in values.T]
    covered = sum(figure.low <= 1 <= figure.high for figure in figures) / sets
    assert 0.87 < covered < 0.98
    assert [figure.value for figure in figures] == pytest.approx(values.mean(0).tolist())


def test_a_figure_that_is_a_ratio_has_the_interval_of_the_ratio():
    """Lift is a ratio of means; the delta method says how far it moves."""
    n, generator = 400, torch.Generator().manual_seed(0)
    chance = 0.2 + 0.2 * torch.rand(n, generator=generator, dtype=torch.float64)
    score = chance * (1 + torch.rand(n, generator=generator, dtype=torch.float64))
    figure = summarize(ImageValues(LocalizationScore(), torch.stack([score, chance, score])))["lift"]
    lift = float(score.mean() / chance.mean())
    reach = 1.96 * float((score - lift * chance).std()) / float(chance.mean()) / n**0.5
    assert figure.value == pytest.approx(lift)
    assert (figure.low, figure.high) == pytest.approx((lift - reach, lift + reach), abs=0.15 * reach)


def test_equal_seeds_draw_equal_resamples_and_leave_the_global_generator_alone():
    values = plain(noise(9))
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first, again, other = values.resampled(count=120), values.resampled(count=120), values.resampled(7, 120)
    assert torch.equal(torch.rand(2), expected)
    assert first["plain"].shape == (120,) and torch.equal(first["plain"], again["plain"])
    assert not torch.equal(first["plain"], other["plain"])
    # Chunks of resamples differ from each other.
    assert len(first["plain"].unique()) > 110


def test_values_may_come_in_any_order():
    values, order = noise(1, 30), torch.randperm(30, generator=torch.Generator().manual_seed(1))
    one, other = (ImageValues(Sharpness(), v.expand(4, -1)).aggregate() for v in (values, values[:, order]))
    assert all(float(one[name]) == pytest.approx(float(other[name])) for name in one)


@pytest.mark.parametrize("each", [1, 4])
def test_intervals_of_means_within_categories_cover_the_truth(each):
    """Of categories with one image, resampling must not become sampling without replacement, which covers 87 %."""
    generator, covered, rounds = torch.Generator().manual_seed(0), 0, 120
    categories = torch.arange(80) // each
    for _ in range(rounds):
        hits = (torch.rand(80, generator=generator) < 0.6).double()
        found = summarize(ImageValues(PointingGame(), hits.expand(3, -1), categories))["pointing"]
        covered += found.low <= 0.6 <= found.high
    assert covered / rounds > 0.9


def test_categories_of_one_image_are_drawn_together():
    values = noise(12, seed=3).double()
    single = summarize(plain(values))["plain"]
    # Three equal values of each image say no more than one.
    whole = plain(values.repeat_interleave(3))
    whole.images = (torch.arange(12) * 7).repeat_interleave(3)
    found = summarize(whole)["plain"]
    assert (found.low, found.high) == pytest.approx((single.low, single.high), abs=1e-12)
    alone = summarize(plain(values.repeat_interleave(3)))["plain"]
    assert alone.high - alone.low < 0.75 * (found.high - found.low)


def test_images_of_one_value_each_are_drawn_as_ever():
    values = noise(12, seed=3).double()
    named = plain(values)
    named.images = torch.arange(12) * 5
    assert summarize(named) == summarize(plain(values))
