"""The benchmark command: what it chooses, how it compares, what it writes, and that it runs."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Benchmarks import each other from their folder."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def run(ms, ratio, peak=10.0):
    return {"ms": ms, "ratio": ratio, "ratios": [ratio], "peak_mib": peak}


@pytest.fixture
def data():
    """Two cells measured, one refused, one failure, one known bug, one left out."""
    runs = {"bare": run(100, 1), "livecam": run(102, 1.02, 3), "torchcam": run(150, 1.5), "grad-cam": run(340, 3.4)}
    half = {"bare": run(50, 1), "bare fp32": run(200, 4), "livecam": run(48, 0.96), "torchcam": run(80, 1.6)}
    right, wrong = {"agrees": True, "difference": 1e-8, "why": ""}, {"agrees": None, "difference": 0.3, "why": "cubed"}
    return {
        "settings": {"device": "CPU", "size": 224},
        "checks": {"resnet50/gradcam": {"torchcam": right, "grad-cam": wrong}},
        "cells": {
            "resnet50/gradcam/8/fp32/224": {"runs": runs, "failed": {}},
            "vgg16/scorecam/1/bf16/224": {"runs": half, "failed": {"grad-cam": "TypeError: no bf16"}},
            "unet/rise/1/fp32/224": {"refused": "torchcam and livecam differ"},
        },
        "left_out": {"unet/scorecam/32/fp32/224": "over the budget: about 90.0 min"},
        "curves": {},
        "live": {
            "unet": [
                {"kind": "plain", "ratio": 1.0, "images": 64, "size": 112},
                {"kind": "scores and gallery", "ratio": 1.07},
            ]
        },
    }


def test_cells_that_are_aimed_at_claim_the_budget_first_and_the_rest_is_named():
    from cells import matrix, within

    cells = matrix(["resnet50", "unet"], ["gradcam", "rise"], [1, 8], ["fp32"], 224)
    assert len(cells) == 8
    price = {"unet": 30.0, "resnet50": 60.0}
    chosen, reasons = within(cells, lambda cell: price[cell.net], 130)
    # The target's cell, though it is dear; then cheap methods, of which only the cheaper network's fit.
    assert [cell.key for cell in chosen] == [
        "resnet50/gradcam/8/fp32/224",
        "unet/gradcam/1/fp32/224",
        "unet/gradcam/8/fp32/224",
    ]
    assert len(reasons) == 5 and set(reasons.values()) == {
        "over the budget: about 0.5 min",
        "over the budget: about 1.0 min",
    }
    assert within(cells, lambda cell: 1, 8)[1] == {}


def test_every_method_has_a_cell_of_the_second_rank():
    from cells import matrix, rank
    from tables import METHOD_NAMES

    cells = matrix(["resnet18", "unet"], METHOD_NAMES, [1, 8, 32], ["fp32", "bf16"], 224)
    assert sorted(cell.method for cell in cells if rank(cell) == 1) == sorted(METHOD_NAMES)


def test_the_table_names_the_best_peer_who_agrees_and_what_was_refused(data):
    from tables import cells_table

    lines = cells_table(data).splitlines()
    assert lines[2] == "| resnet50 | Grad-CAM | 8 | fp32 | 100 | 1.02 | 1.50 torchcam | torchcam | 3; 10 |"
    assert lines[3] == "| vgg16 | Score-CAM | 1 | bf16 | 50 | 0.96 | 1.60 torchcam | — | 10; 10 |"
    assert "refused" in lines[4] and "torchcam and livecam differ" in lines[4]
    assert {line.count("|") for line in lines} == {10}


def test_targets_divide_by_the_unit_that_they_name_and_stay_open_where_nothing_was_run(data):
    from tables import targets_table

    lines = {line.split(" | ")[0]: line for line in targets_table(data).splitlines()}
    assert "| ≤ 1.03 | 1.02 | 1.50 torchcam |" in lines["| Grad-CAM, ResNet50, 224 px, batch 8, over a bare forward"]
    # 0.96 of bare forwards in bf16, which are a quarter of those in fp32.
    assert "| ≤ 0.25 | 0.24 | 0.40 torchcam |" in lines["| Score-CAM in bf16, over bare forwards in fp32"]
    assert "not measured here" in lines["| RISE, over its passes"]
    live = "| live scores of the family and a gallery, unet, 64 images of 112 px, over plain validation"
    assert "| ≤ 1.10 | 1.07 |" in lines[live]


def test_notes_say_who_differs_who_failed_and_how_much_was_left_out(data):
    from tables import notes

    assert notes(data).splitlines() == [
        "- Differs: grad-cam: cubed.",
        "- Failed: grad-cam in bf16, Score-CAM: TypeError: no bf16",
        "- 1 cells were over the budget; the JSON file names them.",
    ]


def test_the_page_keeps_what_stands_around_the_markers(tmp_path):
    from tables import put_between

    page = tmp_path / "page.md"
    page.write_text("above <!-- cpu.json -->old<!-- /cpu.json --> below")
    for _ in range(2):
        put_between(page, "cpu.json", "new")
        assert page.read_text() == "above <!-- cpu.json -->\n\nnew\n\n<!-- /cpu.json --> below"
    with pytest.raises(SystemExit, match=r"no place <!-- cuda\.json -->"):
        put_between(page, "cuda.json", "new")


def test_a_page_shows_tables_notes_and_every_chart(data):
    from tables import cells_table, notes, page_part, targets_table

    data["curves"]["batch"] = {"title": "Family [over] batches"}
    text = page_part(data, "cpu")
    assert text.startswith("device CPU; 224 px.")
    assert all(part in text for part in (cells_table(data), notes(data), targets_table(data)))
    assert "![Family [over] batches](performance_cpu_batch.svg)" in text


def test_the_page_of_the_repository_has_a_place_for_both_devices():
    text = (ROOT / "docs" / "performance.md").read_text()
    for name in ("cpu.json", "cuda.json"):
        assert text.index(f"<!-- {name} -->") < text.index(f"<!-- /{name} -->")


def test_results_go_on_where_they_were_left_and_refuse_other_settings(tmp_path):
    from results import Results

    file, settings = tmp_path / "deep" / "cpu.json", {"device": "CPU", "size": 64}
    Results(file, settings).put("cells", "a", {"runs": {}})
    again = Results(file, settings, resume=True)
    again.put("cells", "b", {"runs": {}})
    assert list(json.loads(file.read_text())["cells"]) == ["a", "b"]
    assert [each.name for each in file.parent.iterdir()] == ["cpu.json"]
    with pytest.raises(SystemExit, match="measured with other size"):
        Results(file, settings | {"size": 224}, resume=True)
    assert Results(file, settings | {"size": 224}).data["cells"] == {}


def test_actions_take_turns_and_one_that_fails_stays_out():
    from timing import in_turns

    calls = []

    def fails():
        calls.append("c")
        raise TypeError("no bf16\nand more")

    actions = {"a": lambda: calls.append("a"), "c": fails, "b": lambda: calls.append("b")}
    measured, failed = in_turns(actions, 2)
    assert calls == ["a", "c", "b", "a", "b", "a", "b"]
    assert failed == {"c": "TypeError: no bf16"}
    assert measured["a"].ratios == [1, 1] and len(measured["b"].seconds) == 2
    with pytest.raises(TypeError):
        in_turns({"c": fails}, 1)


def test_a_costly_first_round_counts_and_nothing_is_repeated(monkeypatch):
    import timing

    calls = []
    monkeypatch.setattr(timing, "COSTLY", -1.0)
    measured, _ = timing.in_turns({"a": lambda: calls.append("a")}, 5)
    assert calls == ["a"] and len(measured["a"].seconds) == 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_peak_memory_sees_what_is_given_back():
    from timing import PeakMemory

    with PeakMemory() as peak:
        torch.ones(64 * 2**18).sum()
    if not torch.cuda.is_available():
        assert 60 < peak.mib < 200


def test_a_chart_is_whole_and_its_names_do_not_overlap():
    from charts import line_chart, spread

    lines = {"bare": [1.0, 2.0], "livecam": [1.0, 2.0], "torch<cam": [2.0, None]}
    chart = ElementTree.fromstring(line_chart("A & B", "pixels", "ms", [64, 128], lines))
    words = [each.text for each in chart.iter("{http://www.w3.org/2000/svg}text")]
    assert words[:3] == ["A & B", "ms", "pixels"] and words[-3:] == ["bare", "livecam", "torch<cam"]
    assert spread([10, 10, 0, 7], 5) == [10, 5, -5, 0]


@pytest.mark.oracle
def test_a_library_that_differs_is_refused():
    pytest.importorskip("torchcam")
    from agreement import Disagreement, checked
    from contests import Contest, Peer

    ours = torch.tensor([1.0, 2.0])

    def contest(theirs, **options):
        return Contest(lambda: ours, [Peer("other", lambda: theirs, **options)], lambda: None, 1)

    assert checked(contest(ours, like=lambda: ours))["other"]["agrees"] is True
    assert "KeyError" in checked(Contest(lambda: ours, [Peer("other", lambda: {}[0])], print, 1))["other"]["why"]
    assert checked(contest(ours + 1, why="bug"))["other"] == {"agrees": None, "difference": 0.5, "why": "bug"}
    with pytest.raises(Disagreement, match="other and livecam differ by 1"):
        checked(contest(ours + 2e-5, like=lambda: ours))
    with pytest.raises(Disagreement):
        # NaN is equal to nothing, and anything agrees with an empty result.
        checked(contest(ours * torch.nan, like=lambda: ours))
    with pytest.raises(Disagreement):
        checked(contest(ours * 0, like=lambda: ours * 0))


@pytest.mark.slow
@pytest.mark.oracle
def test_the_command_measures_checks_and_goes_on(tmp_path, monkeypatch, capsys):
    import run as command

    file = tmp_path / "cpu.json"
    words = ["run.py", "--quick", "--only", "resnet18/(gradcam|rise)/", "--out", str(file)]
    monkeypatch.setattr(sys, "argv", words)
    assert command.main() == 0
    data = json.loads(file.read_text())
    assert list(data["cells"]) == ["resnet18/gradcam/1/fp32/64", "resnet18/rise/1/fp32/64"]
    runs = data["cells"]["resnet18/gradcam/1/fp32/64"]["runs"]
    assert list(runs) == ["bare", "livecam", "torchcam", "grad-cam", "captum"]
    assert runs["bare"]["ratio"] == 1 and all(each["ms"] > 0 and each["peak_mib"] >= 0 for each in runs.values())
    assert all(check["agrees"] for each in data["checks"].values() for check in each.values())
    assert "2 cells" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*words, "--resume"])
    assert command.main() == 0
    assert "0 cells" in capsys.readouterr().out and json.loads(file.read_text())["cells"] == data["cells"]
