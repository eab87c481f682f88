"""A real training meets the end of its memory, of W&B and of the disk, and comes to its own end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from livecam.report.html.page_data import PageData

SCRIPT = Path(__file__).with_name("hardship.py")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space and file size are Linux's")
def test_a_training_outlives_memory_wandb_and_disk(tmp_path):
    free = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    told = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=280,
        env=free | {"NETRC": str(tmp_path / "nobody")},
    )
    assert told.returncode == 0, told.stderr[-3000:]
    # All four epochs, and no map was given up.
    assert told.stdout.splitlines()[-1] == "finished 4 0.0"
    assert told.stdout.count("killed W&B") == 1
    for sentence in (
        "Explainer 'rise' ran out of memory and is tried again in smaller portions.",
        # Lost, or reset, as the moment has it.
        "W&B takes nothing any more (",
        "cannot be written ([Errno 27] File too large",
    ):
        assert told.stderr.count(sentence) == 1, sentence
    page = PageData.from_js((tmp_path / "run" / "data.js").read_text())
    assert page.status == "finished"
    (shown,) = page.galleries.values()
    # The untrained network and four validations; the pictures of the third did not fit on the disk, and are not named.
    there = {step: [(tmp_path / "run" / each["file"]).exists() for each in entries] for step, entries in shown.items()}
    assert there == {0: [True, True], 1: [True, True], 2: [], 3: [True, True]}
    assert not list(tmp_path.rglob("*.part"))
    assert page.metrics["val/sharpness/rise"].keys() == {0, 1, 2, 3}
