"""``explain.py score``, in process, on a tiny untrained U-Net and planted shapes."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scored import CHECKPOINT, LOCALIZATION, PLANTED, planted, score, summary

from livecam.data import PlantedShapesData
from livecam.explain import explain
from livecam.training.checkpoint import load_classifier


def by_hand(methods: list[str]) -> dict[tuple[int, str], dict[str, float]]:
    """Localization, energy and pointing of every image, by plain sums over the maps."""
    data = planted()
    samples = [data[index] for index in range(len(data))]
    images, labels = torch.stack([s["image"] for s in samples]), torch.tensor([s["label"] for s in samples])
    found = explain(load_classifier(CHECKPOINT), images, methods, labels, head="softmax")
    expected = {}
    for name, explanation in found.items():
        for index, sample in enumerate(samples):
            inside = sample["mask"].numpy()
            energy = explanation.energy[index].double().numpy()
            shown = explanation.map[index].numpy()
            total, shifted, top = energy.sum(), energy - energy.min(), shown == shown.max()
            # A map without energy has no score, one that is uniform scores chance.
            share = energy[inside].sum() / total if total else np.nan
            expected[index, name] = {
                "localization": share,
                "localization_chance": inside.mean(),
                "localization_minmax": shifted[inside].sum() / shifted.sum() if shifted.sum() else inside.mean(),
                "energy_in_mask": share,
                "energy_in_mask_small": share if inside.mean() < 0.25 else np.nan,
                "pointing": (top & inside).sum() / top.sum() if shown.max() > 0 else 0,
                "target": int(labels[index]),
                "predicted": int(explanation.predicted[index]),
                "probability": float(explanation.probability[index]),
                "degenerate": int(explanation.degenerate[index]),
            }
    return expected


def test_every_value_and_mean_is_that_of_plain_sums(here, capsys):
    words = "gradcam,cam,centered_gaussian"
    rows = score(*PLANTED, "--methods", "gradcam,cam", "--metrics", "localization,energy_in_mask,pointing")
    expected = by_hand(words.split(","))
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        assert (row["label"], row["of"], row["file"]) == (str(key[0] % 4), "3", "")
        for column, value in expected[key].items():
            assert float(row[column]) == pytest.approx(value, abs=1e-6, nan_ok=True), (key, column)

    told = summary()
    assert (told["images"], told["unreadable"], told["target"]) == (12, 0, "label")
    hits = [row["label"] == row["predicted"] for row in rows.values()]
    assert told["accuracy"]["value"] == pytest.approx(np.mean(hits))
    for method in words.split(","):
        mine = [row for (_, name), row in expected.items() if name == method]
        scores = np.array([row["localization"] for row in mine])
        known = ~np.isnan(scores)
        line = told["metrics"]["localization"][method]
        assert (line["n"], line["undefined"]) == (known.sum(), (~known).sum())
        assert line["degenerate"] == sum(row["degenerate"] for row in mine)
        chance = np.array([row["localization_chance"] for row in mine])[known].mean()
        figures = {name: figure["value"] for name, figure in line["figures"].items()}
        assert figures["localization"] == pytest.approx(scores[known].mean())
        assert figures["chance"] == pytest.approx(chance)
        assert figures["lift"] == pytest.approx(scores[known].mean() / chance)
        # Means of the categories first; all four have three images.
        hits = [[row["pointing"] for row in mine if row["target"] == category] for category in range(4)]
        pointing = told["metrics"]["pointing"][method]
        assert pointing["n"] == 12 and pointing["figures"]["pointing"]["value"] == pytest.approx(np.mean(hits))
        small = np.array([row["energy_in_mask_small"] for row in mine])
        assert told["metrics"]["energy_in_mask"][method]["figures"]["small"]["value"] == pytest.approx(
            np.nanmean(small)
        )

    # The table has the best method first, and the map that knows nothing among them.
    table = capsys.readouterr().out.split("\nlocalization ")[1].split("\nenergy in mask")[0]
    printed = {"gradcam": "Grad-CAM", "cam": "CAM", "centered_gaussian": "Centered Gaussian"}
    means = {name: told["metrics"]["localization"][name]["figures"]["localization"]["value"] for name in printed}
    ranked = [name for name in re.findall(r"^ ?(Grad-CAM|CAM|Centered Gaussian) +\d", table, re.M)]
    assert [means[{p: n for n, p in printed.items()}[name]] for name in ranked] == sorted(means.values(), reverse=True)
    assert list(told["metrics"]["localization"]) == sorted(means, key=means.get, reverse=True)


def test_the_interval_of_a_mean_is_about_that_of_a_bootstrap_of_our_own(here):
    rows = score(*PLANTED, "--data.val_length", "60", "--methods", "cam", *LOCALIZATION)
    values = np.array(
        [float(row["localization"]) for (_, method), row in rows.items() if method == "centered_gaussian"]
    )
    noise = np.random.default_rng(0)
    means = values[noise.integers(0, 60, (20000, 60))].mean(1)
    figure = summary()["metrics"]["localization"]["centered_gaussian"]["figures"]["localization"]
    width = np.subtract(*np.percentile(means, [97.5, 2.5]))
    assert figure["low"] == pytest.approx(np.percentile(means, 2.5), abs=0.07 * width)
    assert figure["high"] == pytest.approx(np.percentile(means, 97.5), abs=0.07 * width)
    assert width == pytest.approx(2 * 1.96 * values.std() / 60**0.5, rel=0.1)


def test_curves_begin_and_end_with_the_image(here):
    rows = score(*PLANTED, "--metrics", "insertion_deletion(step=256, curves=True)", "--limit", "4")
    model, data = load_classifier(CHECKPOINT), planted()
    for (index, _), row in rows.items():
        sample = data[index]
        with torch.no_grad():
            whole = float(model(sample["image"][None]).softmax(1)[0, sample["label"]])
        for end in ("deletion_at_00", "insertion_at_100"):
            assert float(row[f"insertion_deletion_{end}"]) == pytest.approx(whole, abs=1e-6)
        ends = [float(row[f"insertion_deletion_{end}"]) for end in ("deletion_at_100", "insertion_at_00")]
        assert ends[0] == pytest.approx(ends[1], abs=1e-6)
        both = float(row["insertion_deletion_insertion"]) - float(row["insertion_deletion_deletion"])
        assert float(row["insertion_deletion"]) == pytest.approx(both, abs=1e-9)
    page = Path("scores/index.html").read_text()
    assert page.count("<polyline ") == 4 and "insertion deletion: deletion" in page


def test_the_predicted_class_is_explained_on_request(here):
    rows = score(*PLANTED, "--methods", "cam", *LOCALIZATION, "--target", "predicted")
    assert all(row["target"] == row["predicted"] for row in rows.values())
    assert any(row["target"] != row["label"] for row in rows.values())
    assert summary()["target"] == "predicted"


def test_methods_with_options_and_the_test_part(here, capsys):
    words = "occlusion(window_size=8, stride=8),gradual_gradcam(q='l2')"
    rows = score(*PLANTED, "--methods", words, *LOCALIZATION, "--split", "test", "--data.val_length", "3")
    assert {method for _, method in rows} == {"occlusion", "gradual_gradcam", "centered_gaussian"}
    data = PlantedShapesData(image_size=32, val_length=3).sets["test"]
    for index in range(3):
        chance = float(data[index]["mask"].double().mean())
        assert float(rows[index, "occlusion"]["localization_chance"]) == pytest.approx(chance, abs=1e-12)
    assert "Occlusion" in capsys.readouterr().out
    assert "Occlusion(name='occlusion', window_size=8, stride=8" in Path("scores/settings.json").read_text()
