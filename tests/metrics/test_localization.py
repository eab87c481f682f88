import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.metrics import EnergyInMask, LocalizationScore, ReferenceLocalizationScore, Sharpness, localization_score
from livecam.runtime import memory


def energies(count=3, size=(9, 11), seed=0):
    return torch.rand(count, *size, generator=torch.Generator().manual_seed(seed))


def masks(count=3, size=(9, 11), seed=1, share=0.3):
    return torch.rand(count, *size, generator=torch.Generator().manual_seed(seed)) < share


def computed(metric, *batches):
    for batch in batches:
        metric.update(*batch)
    return {key: float(value) for key, value in metric.compute().items()}


def test_by_hand():
    energy = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    mask = torch.tensor([[[True, False], [False, True]]])
    assert localization_score(energy, mask).tolist() == [0.5]
    found = computed(LocalizationScore(), (energy, mask))
    # minmax: energies 0 1 2 3, of which 3 of 6 lie inside.
    assert found == pytest.approx(
        {"localization": 0.5, "chance": 0.5, "minmax": 0.5, "lift": 1, "minmax_lift": 1}
        | {"n": 1, "undefined": 0, "degenerate": 0}
    )
    skewed = computed(LocalizationScore(), (energy + 1, torch.tensor([[[False, False], [False, True]]])))
    assert skewed["localization"] == pytest.approx(5 / 14) and skewed["minmax"] == pytest.approx(3 / 6)
    assert skewed["lift"] == pytest.approx(5 / 14 / 0.25) and skewed["minmax_lift"] == pytest.approx(2)


def test_perfect_and_opposite_maps():
    mask = masks()
    assert localization_score(mask.float(), mask).tolist() == [1, 1, 1]
    assert localization_score((~mask).float(), mask).tolist() == [0, 0, 0]


@pytest.mark.parametrize("level", [1.0, 1e-8, 1e-30, 3e4])
def test_a_uniform_map_scores_chance_at_any_level(level):
    mask = masks(5)
    found = computed(LocalizationScore(), (torch.full((5, 9, 11), level), mask))
    chance = float(mask.double().mean())
    assert found["chance"] == pytest.approx(chance)
    for key in ("localization", "minmax"):
        assert found[key] == pytest.approx(chance, abs=1e-12)
    assert (found["lift"], found["n"], found["degenerate"]) == (pytest.approx(1), 5, 5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), exponent=st.floats(-20, 20), share=st.floats(0.05, 0.95))
def test_scale_is_irrelevant_and_a_mask_and_its_complement_share_the_energy(seed, exponent, share):
    energy, mask = energies(seed=seed).double(), masks(seed=seed + 1, share=share)
    mask[:, 0, 0], mask[:, -1, -1] = True, False
    score = localization_score(energy, mask)
    torch.testing.assert_close(score + localization_score(energy, ~mask), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(localization_score(energy * 10**exponent, mask), score, atol=1e-12, rtol=0)
    by_hand = [float(e[m].sum() / e.sum()) for e, m in zip(energy, mask)]
    assert score.tolist() == pytest.approx(by_hand, abs=1e-12)


def test_faint_energies_keep_their_digits():
    # 50,000 pixels of about 1e-8, as a full-resolution Grad-CAM has them.
    energy, mask = energies(2, (224, 224)), masks(2, (224, 224))
    faint = (energy.double() * 1e-8).float()
    exact = (faint.double() * mask).sum((1, 2)) / faint.double().sum((1, 2))
    torch.testing.assert_close(localization_score(faint, mask), exact, atol=1e-12, rtol=0)


def test_what_has_no_score_is_counted_and_not_averaged():
    energy, mask = energies(4), masks(4)
    energy[1] = 0
    mask[2] = False
    found = computed(LocalizationScore(), (energy, mask))
    kept = [0, 3]
    assert (found["n"], found["undefined"], found["degenerate"]) == (2, 2, 1)
    by_hand = [float((energy[i] * mask[i]).double().sum() / energy[i].double().sum()) for i in kept]
    assert found["localization"] == pytest.approx(sum(by_hand) / 2, abs=1e-6)
    assert found["chance"] == pytest.approx(float(mask[kept].double().mean()))
    assert localization_score(energy, mask).isnan().tolist() == [False, True, True, False]


def test_nothing_defined_gives_nan_with_the_count():
    found = LocalizationScore()
    found.update(torch.zeros(3, 4, 4), torch.ones(3, 4, 4, dtype=torch.bool))
    result = found.compute()
    assert result["localization"].isnan() and result["lift"].isnan()
    assert (int(result["n"]), int(result["undefined"])) == (0, 3)


@pytest.mark.parametrize("metric", [LocalizationScore, ReferenceLocalizationScore])
@pytest.mark.parametrize("shape", [(2, 8, 9), (2, 9, 8), (1, 8, 8), (2, 1, 8, 8)], ids=str)
def test_masks_of_another_size(metric, shape):
    with pytest.raises(ValueError, match=r"Maps \(2, 8, 8\) and masks .* differ in shape: resize the masks"):
        metric().update(torch.rand(2, 8, 8), torch.ones(shape, dtype=torch.bool))


def test_headline_comes_first():
    for metric in (LocalizationScore(), ReferenceLocalizationScore()):
        metric.update(energies(), masks())
        assert next(iter(metric.compute())) == "localization"
        assert metric.uses == "energy" and metric.higher_is_better
    assert (LocalizationScore.name, ReferenceLocalizationScore.name) == ("localization", "localization_ref")
    assert LocalizationScore.inputs == set(["maps", "masks"])
    assert ReferenceLocalizationScore.inputs == set(["maps", "reference"])


def test_integer_masks_are_read_as_bool():
    energy, mask = energies(), masks()
    plain, integers = LocalizationScore(), LocalizationScore()
    assert computed(plain, (energy, mask)) == computed(integers, (energy, 255 * mask.to(torch.uint8)))


def test_a_reference_is_thresholded_at_one_half_and_at_every_tenth():
    energy, reference = energies(4), energies(4, seed=5)
    reference = (reference - reference.amin((1, 2), True)) / (reference - reference.amin((1, 2), True)).amax(
        (1, 2), True
    )
    found = computed(ReferenceLocalizationScore(), (energy, reference))
    for percent in range(10, 100, 10):
        inside = reference >= percent / 100
        by_hand = ((energy * inside).sum((1, 2)) / energy.sum((1, 2))).mean()
        assert found[f"at_{percent}"] == pytest.approx(float(by_hand), abs=1e-6)
    assert found["localization"] == found["at_50"]
    assert found["chance"] == pytest.approx(float((reference >= 0.5).float().mean()))
    curve = [found[f"at_{percent}"] for percent in range(10, 100, 10)]
    assert curve == sorted(curve, reverse=True) and curve[0] > curve[-1]


def test_a_faint_reference_empties_high_thresholds_of_its_own_image_only():
    energy, reference = energies(2), energies(2, seed=5)
    reference[0] *= 0.75 / reference[0].max()  # the crop of a reference may miss its maximum
    alone = computed(ReferenceLocalizationScore(), (energy[1:], reference[1:]))
    both = computed(ReferenceLocalizationScore(), (energy, reference))
    assert both["at_80"] == pytest.approx(alone["at_80"])
    first = float((energy[0] * (reference[0] >= 0.7)).sum() / energy[0].sum())
    assert both["at_70"] == pytest.approx((first + alone["at_70"]) / 2, abs=1e-6)
    assert (both["n"], both["undefined"]) == (2, 0)


def test_maps_given_as_ground_truth_are_thresholded():
    energy = torch.zeros(1, 4, 4)
    energy[0, 0, 0] = energy[0, 3, 3] = 1.0
    truth = torch.full((1, 4, 4), 0.1)
    truth[0, 0, 0] = 0.5
    metric = LocalizationScore()
    metric.update(energy, truth)
    found = metric.compute()
    assert found["localization"] == 0.5 and found["chance"] == 1 / 16


def test_energy_in_mask_tells_small_objects_apart():
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[0, :2], masks[1, 0, :2], masks[2, 0, 0] = True, True, True  # 8, 2 and 1 of 16 pixels
    maps = torch.ones(3, 4, 4)
    maps[1, 0, 0] = 3  # 4 of 18
    metric = EnergyInMask()
    metric.update(maps, masks)
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found["energy_in_mask"] == pytest.approx((8 / 16 + 4 / 18 + 1 / 16) / 3)
    assert found["chance"] == pytest.approx((8 + 2 + 1) / 48)
    assert found["lift"] == pytest.approx(found["energy_in_mask"] / found["chance"])
    assert found["small"] == pytest.approx((4 / 18 + 1 / 16) / 2)
    assert found["small_lift"] == pytest.approx(found["small"] / (3 / 32))
    assert found["n"] == 3
    # A quarter of the image is not below a quarter of it.
    assert EnergyInMask(small=2 / 16).per_image(maps, masks)[2].isnan().tolist() == [True, True, False]


@pytest.mark.parametrize("metric", [LocalizationScore, Sharpness])
def test_images_measured_few_at_a_time_have_the_values_they_have_together(metric, monkeypatch):
    given = [energies(7), masks(7)][: len(metric.inputs)]
    whole = metric().per_image(*given)
    monkeypatch.setattr(memory, "_KEPT_ON_CPU", 3 * 8 * 9 * 11)
    assert [len(part) for (part,) in memory.few_rows(given[0])] == [3, 3, 1]
    torch.testing.assert_close(metric().per_image(*given), whole, rtol=0, atol=0)
