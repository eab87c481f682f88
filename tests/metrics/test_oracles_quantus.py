"""Agreement with Quantus on metrics against masks, and with scipy, scikit-image and scikit-learn on what they stand on.

Where Quantus counts otherwise (ties, empty masks), the last tests pin how.
"""

import pytest
import torch

from livecam.metrics import EnergyInMask, localization_score
from livecam.metrics.overlap import MaskOverlap, average_precision
from livecam.metrics.pointing import PointingGame
from livecam.metrics.randomization import Randomization, average_ranks, spearman, ssim

pytestmark = pytest.mark.oracle

COUNT, SIZE = 40, (21, 26)


def maps_and_masks(seed=0):
    """Maps >= 0 that lean towards their masks, so that some hit and some miss; no ties, no empty mask."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(COUNT, *SIZE, generator=generator)
    masks = torch.zeros(COUNT, *SIZE, dtype=torch.bool)
    for mask, corner in zip(masks, torch.randint(0, 10, (COUNT, 2), generator=generator).tolist()):
        mask[corner[0] : corner[0] + 9, corner[1] : corner[1] + 7] = True
    return maps + 0.02 * masks, masks


def quantus_scores(name, maps, masks):
    """Per-image scores of one of its metrics, on the maps as they are."""
    import quantus

    metric = getattr(quantus, name)(abs=False, normalise=False, disable_warnings=True)
    batch = {"x_batch": torch.zeros(len(maps), 3, *maps.shape[1:]), "a_batch": maps[:, None], "s_batch": masks[:, None]}
    scores = metric(
        model=None,
        y_batch=torch.zeros(len(maps), dtype=torch.long).numpy(),
        channel_first=True,
        **{key: value.double().numpy() for key, value in batch.items()},
    )
    return torch.tensor([float(score) for score in scores], dtype=torch.float64)


def pointing(maps, masks, **options):
    return PointingGame(**options).per_image(maps, masks, torch.zeros(len(maps), dtype=torch.long))[0]


def test_pointing_game_counts():
    maps, masks = maps_and_masks()
    theirs = quantus_scores("PointingGame", maps, masks)
    assert 5 < theirs.sum() < COUNT - 5, "both outcomes have to occur"
    for ties in ("share", "first"):
        assert torch.equal(pointing(maps, masks, ties=ties), theirs)
    metric = PointingGame()
    metric.update(maps, masks, torch.zeros(COUNT, dtype=torch.long))
    assert float(metric.compute()["pointing"]) == pytest.approx(float(theirs.mean()), abs=1e-12)


def test_relevance_mass_accuracy():
    maps, masks = maps_and_masks(1)
    theirs = quantus_scores("RelevanceMassAccuracy", maps, masks)
    torch.testing.assert_close(localization_score(maps, masks), theirs, atol=1e-6, rtol=0)
    assert theirs.std() > 0.005
    metric = EnergyInMask()
    metric.update(maps, masks)
    assert float(metric.compute()["energy_in_mask"]) == pytest.approx(float(theirs.mean()), abs=1e-6)


@pytest.mark.parametrize("levels", [None, 3, 50])
def test_spearman_and_its_ranks(levels):
    from scipy.stats import rankdata, spearmanr

    generator = torch.Generator().manual_seed(2)
    one = torch.randn(5, 13, 17, generator=generator)
    other = one + torch.randn(5, 13, 17, generator=generator)
    if levels:
        one, other = (one * levels / 4).round(), (other * levels / 4).round()
    theirs = [spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic for a, b in zip(one, other)]
    torch.testing.assert_close(spearman(one, other), torch.tensor(theirs), atol=1e-12, rtol=0, check_dtype=False)
    assert average_ranks(one.flatten(1)).tolist() == rankdata(one.flatten(1).numpy(), axis=1).tolist()


@pytest.mark.parametrize("size", [(7, 7), (8, 30), (41, 24)])
def test_ssim(size):
    from skimage.metrics import structural_similarity

    generator = torch.Generator().manual_seed(3)
    one = torch.rand(4, *size, generator=generator).double()
    other = 0.6 * one + 0.4 * torch.rand(4, *size, generator=generator)
    options = {"win_size": 7, "use_sample_covariance": False, "data_range": 1.0}
    theirs = [structural_similarity(a.numpy(), b.numpy(), **options) for a, b in zip(one, other)]
    torch.testing.assert_close(ssim(one, other), torch.tensor(theirs, dtype=torch.float64), atol=1e-12, rtol=0)


def test_the_parts_of_randomization():
    from scipy.stats import spearmanr
    from skimage.metrics import structural_similarity

    generator = torch.Generator().manual_seed(4)
    before = torch.randn(3, 16, 20, generator=generator)
    after = before + torch.randn(3, 16, 20, generator=generator)
    values = Randomization().per_image(torch.nn.Conv2d(3, 4, 3), lambda net: after, before)
    found = dict(zip(Randomization.value_names, values))
    for i, (a, b) in enumerate(zip(before.double().numpy(), after.double().numpy())):
        scaled = ((m - m.min()) / (m.max() - m.min()) for m in (a, b))
        similar = structural_similarity(*scaled, win_size=7, use_sample_covariance=False, data_range=1.0)
        assert found["ssim"][i].item() == pytest.approx(similar, abs=1e-6)
        for part, rho in (("randomization", spearmanr(a, b, None)), ("abs", spearmanr(abs(a), abs(b), None))):
            assert found[part][i].item() == pytest.approx(rho.statistic, abs=1e-6)


@pytest.mark.parametrize("levels", [None, 1, 8])
def test_average_precision(levels):
    from sklearn.metrics import average_precision_score

    maps, masks = maps_and_masks(5)
    maps = maps if levels is None else (maps * levels).floor() / levels
    theirs = [average_precision_score(t.flatten().numpy(), m.flatten().numpy()) for m, t in zip(maps, masks)]
    expected = torch.tensor(theirs, dtype=torch.float64)
    torch.testing.assert_close(average_precision(maps, masks), expected, atol=1e-12, rtol=0)
    part = MaskOverlap.value_names.index("average_precision")
    torch.testing.assert_close(MaskOverlap().per_image(maps, masks)[part], expected, atol=1e-12, rtol=0)


def test_overlap():
    from sklearn.metrics import jaccard_score

    maps, masks = maps_and_masks(6)
    theirs = [jaccard_score(t.flatten().numpy(), (m >= 0.5).flatten().numpy()) for m, t in zip(maps, masks)]
    found = MaskOverlap().per_image(maps, masks)[0]
    torch.testing.assert_close(found, torch.tensor(theirs, dtype=torch.float64), atol=1e-12, rtol=0)


def test_quantus_lets_a_plateau_hit_if_it_touches_the_object_at_all():
    maps, masks = maps_and_masks(7)
    plateau = torch.zeros_like(maps)
    plateau[:, :, 3:20] = 1
    assert quantus_scores("PointingGame", plateau, masks).tolist() == [1] * COUNT
    assert pointing(plateau, masks).tolist() == pytest.approx((masks[:, :, 3:20].sum((1, 2)) / (17 * 21)).tolist())


def test_quantus_counts_an_empty_mask_as_a_hit():
    maps, masks = maps_and_masks(8)
    empty = torch.zeros_like(masks)
    # It writes NaN into an array of bool.
    assert quantus_scores("PointingGame", maps, empty).tolist() == [1] * COUNT
    assert pointing(maps, empty).isnan().all()
