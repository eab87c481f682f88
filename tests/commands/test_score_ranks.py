"""``explain.py score`` in real processes: two ranks score what one does, and a killed run goes on."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.checkpoints import save_unet

from livecam import cli

EXPLAIN = Path(__file__).parents[2] / "explain.py"
CHECKPOINT = "runs/full/checkpoints/last.ckpt"
# 13 images divide neither among two ranks nor into batches of three; the 14th is left for a run of its own.
DATA = ["--data", "PlantedShapesData", "--data.image_size", "32", "--data.val_length", "14", "--batch_size", "3"]
pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_unet(tmp_path / CHECKPOINT)
    return tmp_path


def words(out: str, *args: str) -> list[str]:
    return ["score", "--checkpoint", CHECKPOINT, "--out", out, "--trainer.accelerator", "cpu", *DATA, *args]


def start(out: str, *args: str) -> subprocess.Popen:
    """The command in processes of its own."""
    command = [sys.executable, str(EXPLAIN), *words(out, *args)]
    quick = os.environ | {"OMP_NUM_THREADS": "1"}
    with Path(f"{out}.txt").open("w") as told:
        return subprocess.Popen(command, env=quick, stdout=told, stderr=subprocess.STDOUT)


def run(out: str, *args: str) -> str:
    process = start(out, *args)
    assert process.wait(timeout=200) == 0, Path(f"{out}.txt").read_text()[-3000:]
    return Path(f"{out}.txt").read_text()


def rows_of(out: str) -> dict[tuple[int, str], dict[str, str]]:
    with Path(out, "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(int(row["index"]), row["method"]): row for row in rows}
    assert len(found) == len(rows), "an image is there twice"
    return found


def check_equal(rows, others):
    assert list(rows) == list(others)
    for key, row in rows.items():
        for column, cell in row.items():
            same = cell == others[key][column]
            assert same or float(cell) == pytest.approx(float(others[key][column]), abs=1e-6), (key, column)


def test_two_ranks_equal_one_and_go_on(here, capsys):
    asked = ["--methods", "gradcam,cam", "--metrics", "localization,pointing,sharpness"]
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    for count in (13, 14):
        limit = ["--limit", str(count)]
        cli.explain(words("one", *asked, *limit))
        alone, printed = rows_of("one"), capsys.readouterr().out
        assert len({index for index, _ in alone}) == count and len(alone) == 3 * count
        # The second time a single image is left, and a rank has none.
        told = run("two", *asked, *two, *limit)
        check_equal(rows_of("two"), alone)
        assert not list(Path("two").glob("rows.*"))
        # Rank zero alone prints the tables, and the same.
        assert printed[printed.index("\nlocalization") :].replace("one/", "two/") in told
        assert told.count("Higher is better") == 3
    one, other = (sorted(path.name for path in Path(out, "pictures").iterdir()) for out in ("one", "two"))
    assert one == other and len(one) > 2


def test_a_killed_run_goes_on(here):
    asked = ["--methods", "rise(num_masks=400)", "--metrics", "localization,pointing"]
    torn = here / "killed" / "rows.rank0.csv"
    process = start("killed", *asked)
    try:
        deadline = time.monotonic() + 100
        while not (torn.exists() and torn.read_bytes().count(b"\n") > 6):
            assert process.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not Path("killed", "scores.csv").exists()
    first = torn.read_text().splitlines()
    done = {line.split(",")[0] for line in first[1:]}
    assert 0 < len(done) < 14, "some images were scored and some were not"
    cli.explain(words("killed", *asked))
    cli.explain(words("whole", *asked))
    again = rows_of("killed")
    check_equal(again, rows_of("whole"))
    # What had been scored was kept as it was.
    for line in csv.DictReader(first):
        assert line == again[int(line["index"]), line["method"]]
