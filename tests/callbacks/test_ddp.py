"""Two real processes score a validation set exactly as one does, train as if nobody watched, and one of them writes."""

import json
from pathlib import Path

import pytest
import torch
from helpers.bits import same
from helpers.coco_tree import plant, polygon
from helpers.processes import run_script
from two_ranks import KINDS, score_fixed_maps, validate

SCRIPT = Path(__file__).with_name("two_ranks.py")
REGIONS = {1: [polygon(0, 0, 15, 12)], 18: [polygon(12, 4, 30, 20)], 90: [polygon(3, 3, 9, 18)]}
# None, one, two or three categories each; the last image, which pads, has two.
THERE = {f"{i:02}.png": [*REGIONS][: (3 * i + 2) % 4] for i in range(13)}
PAIRS = [(name, number, REGIONS[number]) for name, own in THERE.items() for number in own]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Found .* in eval mode")
def test_two_ranks(tmp_path):
    plant(tmp_path / "coco", [*THERE], PAIRS)
    run_script(SCRIPT, tmp_path)
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    check_scores({kind: validate(kind, tmp_path, "one", 1) for kind in KINDS}, ranks)
    assert ranks[0]["fixed"] == ranks[1]["fixed"] == pytest.approx(score_fixed_maps(0, 1), abs=1e-12, rel=0)
    check_who_writes(tmp_path, ranks)
    for rank in (0, 1):
        fits = torch.load(tmp_path / f"fits{rank}.pt", weights_only=False)
        check_undisturbed(fits["watched"], fits["alone"])


def check_scores(alone, ranks):
    for kind in ("indexed", "bare"):
        assert counted(alone[kind], "localization") == 13
    several = alone["several labels"]
    assert counted(several, "energy_in_mask") == len(PAIRS) > counted(several, "localization") > 0
    for rank in ranks:
        for kind, expected in alone.items():
            assert rank["scores"][kind].keys() == expected.keys()
            for key, values in expected.items():
                for method, value in values.items():
                    counts = key.endswith(("_n", "_undefined", "_degenerate"))
                    found = rank["scores"][kind][key][method]
                    assert found == (value if counts else pytest.approx(value, abs=1e-6)), (kind, key, method)


def counted(scores, metric):
    return sum(scores[f"{metric}_{part}"]["gradcam"] for part in ("n", "undefined"))


def check_who_writes(folder, ranks):
    first, second = (rank["written"] for rank in ranks)
    assert second == [], "the second rank wrote"
    for written in ("two/indexed/.index.html.part", "watched/run/.data.js.part", "run/checkpoints", "run/wandb"):
        assert any(written in each for each in first), f"{written} was not noticed"
    for kind in KINDS:
        assert len(list((folder / "two" / kind / "media").iterdir())) == 4
    runs = [path.name for path in (folder / "watched").iterdir()]
    assert runs == ["run"], "one run folder"
    assert len(list((folder / "watched" / "run" / "wandb").glob("offline-run-*"))) == 1, "one W&B run"
    assert len(list((folder / "watched" / "run" / "checkpoints").glob("*.ckpt"))) > 1


def check_undisturbed(watched, alone):
    for what, value in alone.items():
        assert same(value, watched[what]), f"{what} differ"
    losses = [each for each in alone["seen"] if isinstance(each, torch.Tensor) and each.ndim == 0]
    assert len(losses) == 6 and len({float(loss) for loss in losses}) == 6
