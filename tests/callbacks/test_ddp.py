"""Two real processes score a validation set exactly as one does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    ranks = run(tmp_path / "two", 2, kind)
    assert len(ranks) == 2
    for together in ranks:
        assert together.keys() == alone.keys()
        for key, values in alone.items():
            for method, value in values.items():
                counts = key.endswith(("_n", "_undefined", "_degenerate"))
                assert together[key][method] == (value if counts else pytest.approx(value, abs=1e-6)), (key, method)
    assert sum(alone[f"localization_{part}"]["gradcam"] for part in ("n", "undefined")) == 13
    # Rank zero alone writes the page.
    assert len(list((tmp_path / "two" / "page" / "media").iterdir())) == 4
