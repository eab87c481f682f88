"""``score --against``: the layout of the AOP paper's Table 1, with paired intervals; ``--skip``: images for tuning."""

import csv

import pytest
import torch
from helpers.checkpoints import save_unet
from scored import PLANTED, rows_of, score, summary

from livecam import cli
from livecam.evaluation.datasets import choose
from livecam.metrics.summary import interval, resamples

METHODS = "gradcam,igos(iterations=2,n_steps=3,size=6),igos_gradcam(iterations=2,n_steps=3,size=6,warmup=1)"
GAME = [*PLANTED, "--metrics", "insertion_deletion(step=128)", "--methods", METHODS, "--against", "igos_gradcam"]


def table(words: str, out: str = "scores") -> list[dict]:
    return next(rows for title, rows in summary(out)["tables"].items() if words in title)


def test_table_1_in_percent_and_in_the_order_given(here, capsys):
    rows = score(*GAME, "--limit", "6")
    found = table("in percent")
    assert [row["method"] for row in found] == ["Grad-CAM", "I-GOS", "Grad-CAM + I-GOS", "Centered Gaussian"]
    assert [row["stage"] for row in found] == ["one", "one", "AOP", "control"]
    columns = ["stage", "method", "deletion [95 %]", "insertion [95 %]", "insertion deletion [95 %]", "n"]
    assert list(found[0]) == columns
    for name, row in zip(["gradcam", "igos", "igos_gradcam"], found):
        own = [each for key, each in rows.items() if key[1] == name]
        for column in columns[2:5]:
            word = column.removesuffix(" [95 %]").replace(" ", "_")
            key = word if word == "insertion_deletion" else f"insertion_deletion_{word}"
            mean = 100 * sum(float(each[key]) for each in own) / len(own)
            assert row[column]["value"] == pytest.approx(mean) and row[column]["low"] <= mean <= row[column]["high"]
    told = capsys.readouterr().out
    assert (
        "insertion deletion, each method, in percent" in told
        and "insertion deletion: minus Grad-CAM + I-GOS, in points" in told
    )


def test_differences_are_paired_by_image(here):
    rows = score(*GAME)
    found = table("in points")
    assert [row["method"] for row in found] == ["Grad-CAM", "I-GOS", "Centered Gaussian"]
    key = "insertion_deletion_deletion"
    pairs = [(float(rows[i, "gradcam"][key]), float(rows[i, "igos_gradcam"][key])) for i in range(12)]
    apart = torch.tensor([one - other for one, other in pairs], dtype=torch.float64)
    drawn = torch.cat([counts.double() @ apart / 12 for counts in [resamples(12, 2000, 0)]])
    low, high = interval(drawn).tolist()
    cell = found[0]["deletion [95 %]"]
    assert cell["value"] == pytest.approx(100 * float(apart.mean()))
    assert (cell["low"], cell["high"]) == (pytest.approx(100 * low, abs=0.5), pytest.approx(100 * high, abs=0.5))
    # Unpaired, the interval would be that of two independent means.
    alone = [row["deletion [95 %]"] for row in table("in percent")[:3:2]]
    widths = [cell["high"] - cell["low"] for cell in alone]
    assert cell["high"] - cell["low"] < sum(width**2 for width in widths) ** 0.5


def test_what_is_subtracted_must_be_a_method(here, capsys):
    with pytest.raises(SystemExit):
        cli.explain(["score", "--checkpoint", "runs/full/checkpoints/last.ckpt", *PLANTED, "--against", "sigcam"])
    assert "--against sigcam is none of the methods: gradcam, centered_gaussian" in capsys.readouterr().err


def test_skipped_images_are_those_drawn_first(here):
    assert not {*choose(100, 10, 30)} & {*choose(100, 30)} and len(choose(100, 10, 30)) == 10
    assert {*choose(100, 10, 30)} <= {*choose(100, 40)}
    assert choose(12, None) == list(range(12)) and len(choose(12, None, 5)) == 7
    args = [*PLANTED, "--metrics", "sharpness", "--limit", "4"]
    score(*args, out="study")
    score(*args, "--skip", "4", out="tuning")
    first, second = ({index for index, _ in rows_of(f"{out}/scores.csv")} for out in ("study", "tuning"))
    assert len(first) == len(second) == 4 and not first & second
    # The study goes on in its own folder.
    score(*args[:-1], "8", out="study")
    assert {index for index, _ in rows_of("study/scores.csv")} == first | second


def test_nothing_left_is_refused(here, capsys):
    with pytest.raises(SystemExit):
        cli.explain(["score", "--checkpoint", "runs/full/checkpoints/last.ckpt", *PLANTED, "--skip", "12"])
    assert "--skip 12 leaves none of the 12 images" in capsys.readouterr().err


def test_the_course_of_masks_is_kept_by_maps(photos, here, capsys):
    words = "gradcam,igos(iterations=3,n_steps=2,size=6)"
    cli.explain(["maps", "photos/images/0.png", "--checkpoint", "runs/full/checkpoints/last.ckpt", "--methods", words])
    with open("explanations/histories.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["0", "1", "2", "3"] and {row["method"] for row in rows} == {"igos"}
    for row in rows:
        parts = float(row["score"]) + float(row["l1"]) + 20 * float(row["tv"])
        assert float(row["objective"]) == pytest.approx(parts, abs=1e-5)
    assert rows[-1]["step"] == rows[-1]["accepted"] == "" and float(rows[0]["step"]) > 0
    assert (here / "explanations/histories/0_igos.png").stat().st_size > 1000
    assert "histories/0_igos.png" in (here / "explanations/index.html").read_text()
    # Another run into the same folder tells its own courses only.
    cli.explain(["maps", "photos/images/0.png", "--checkpoint", "runs/full/checkpoints/last.ckpt"])
    assert not (here / "explanations/histories.csv").exists()
    assert not (here / "explanations/histories/0_igos.png").exists()


def test_figures_that_are_no_shares_stay_as_they_are(here):
    args = ["--metrics", "sharpness,reclassification", "--methods", "gradcam,cam", "--against", "cam", "--limit", "4"]
    score(*PLANTED, *args)
    found = summary()
    for metric in ("sharpness", "reclassification"):
        rows = found["tables"][f"{metric}, each method"]
        figures = found["metrics"][metric]["gradcam"]["figures"]
        for column, cell in rows[0].items():
            if isinstance(cell, dict):
                name = column.removesuffix(" [95 %]").replace(" ", "_")
                assert cell["value"] == figures[name]["value"], column


def test_courses_of_several_networks_and_of_each_class(photos, here):
    save_unet(here / "runs/other/checkpoints/last.ckpt")
    words = ["--methods", "igos(iterations=1,n_steps=2,size=4)", "--checkpoint", "runs/full/checkpoints/last.ckpt"]
    cli.explain(["maps", "photos/images/0.png", *words, "--checkpoint", "runs/other/checkpoints/last.ckpt"])
    assert len(list((here / "explanations/histories").glob("0_*_igos.png"))) == 2
    with open("explanations/histories.csv", newline="") as file:
        assert len({row["network"] for row in csv.DictReader(file)}) == 2
    cli.explain(["maps", "photos/images/0.png", *words, "--target", "each"])
    with open("explanations/histories.csv", newline="") as file:
        assert len({row["class"] for row in csv.DictReader(file)}) == 4
    assert len(list((here / "explanations/histories").glob("0_*_igos.png"))) == 4
