"""Two real processes score a validation set exactly as one does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from coco_tree import plant, polygon

SCRIPT = Path(__file__).with_name("two_ranks.py")


def run(folder: Path, devices: int, kind: str) -> list[dict]:
    folder.mkdir()
    told = subprocess.run(
        [sys.executable, str(SCRIPT), str(devices), str(folder), kind], capture_output=True, text=True, timeout=280
    )
    assert told.returncode == 0, told.stderr[-3000:]
    return [json.loads(file.read_text()) for file in sorted(folder.glob("rank*.json"))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["indexed", "bare"])
def test_two_ranks_equal_one(tmp_path, kind):
    (alone,) = run(tmp_path / "one", 1, kind)
    check_equal(alone, run(tmp_path / "two", 2, kind))
    assert sum(alone[f"localization_{part}"]["gradcam"] for part in ("n", "undefined")) == 13
    # Rank zero alone writes the page.
    assert len(list((tmp_path / "two" / "page" / "media").iterdir())) == 4


@pytest.mark.slow
def test_two_ranks_equal_one_on_several_labels(tmp_path):
    regions = {1: [polygon(0, 0, 15, 12)], 18: [polygon(12, 4, 30, 20)], 90: [polygon(3, 3, 9, 18)]}
    # None, one, two or three categories each; the last image, which pads, has two.
    there = {f"{i:02}.png": [*regions][: (3 * i + 2) % 4] for i in range(13)}
    pairs = [(name, number, regions[number]) for name, own in there.items() for number in own]
    plant(tmp_path / "coco", [*there], pairs)
    (alone,) = run(tmp_path / "one", 1, str(tmp_path / "coco"))
    check_equal(alone, run(tmp_path / "two", 2, str(tmp_path / "coco")))
    counted = sum(alone[f"energy_in_mask_{part}"]["gradcam"] for part in ("n", "undefined"))
    sure = sum(alone[f"localization_{part}"]["gradcam"] for part in ("n", "undefined"))
    assert counted == len(pairs) > sure > 0


def check_equal(alone, ranks):
    assert len(ranks) == 2
    for together in ranks:
        assert together.keys() == alone.keys()
        for key, values in alone.items():
            for method, value in values.items():
                counts = key.endswith(("_n", "_undefined", "_degenerate"))
                assert together[key][method] == (value if counts else pytest.approx(value, abs=1e-6)), (key, method)
