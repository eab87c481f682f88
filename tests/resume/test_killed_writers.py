"""Whatever moment a kill picks: files are the old or the new, and rows are kept up to the last whole one."""

import json
import random
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from writing import COLUMNS, name_of

from livecam.evaluation.score_store import ScoreFolder
from livecam.report.html.page_data import PageData

pytestmark = pytest.mark.slow
KILLS = 40


def writer(kind: str) -> subprocess.Popen:
    command = [sys.executable, str(Path(__file__).with_name("writing.py")), kind]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def killed_again_and_again(kind: str, look, within: float = 0.03) -> int:
    """Kill the writer at random moments, look at what it left each time; returns how far it came."""
    moments, seen = random.Random(0), 0
    for _ in range(KILLS):
        with writer(kind) as process:
            process.stdout.readline()
            time.sleep(moments.uniform(0, within))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        now = look()
        assert now >= seen, "what was there is gone"
        seen = now
    print(f"{KILLS} kills of {kind} survived, {seen} written")
    return seen


def test_page_and_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def look() -> int:
        data = PageData.from_js(Path("data.js").read_text("ascii"))
        content = Path("blob").read_bytes()
        assert zlib.crc32(content[4:]) == int.from_bytes(content[:4], "big")
        assert len(data.metrics["loss"]) == 2000
        return data.step

    assert killed_again_and_again("page", look) > 0


def test_checkpoints_that_wait_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def look() -> int:
        content = Path("last.ckpt").read_bytes()
        assert zlib.crc32(content[12:]) == int.from_bytes(content[:4], "big")
        return int.from_bytes(content[4:12], "big")

    assert killed_again_and_again("checkpoint", look) > 0


def test_rows_of_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def look() -> int:
        folder = ScoreFolder(Path("scores"), {"x": 1}, COLUMNS)
        found = dict(folder.images())
        assert sorted(found) == list(range(len(found))), "an image in between is gone"
        for index, rows in found.items():
            assert [row["method"] for row in rows] == ["a", "b"]
            assert {row["score"] for row in rows} == {json.dumps(index * 1.5)}
            assert all(row["file"] == name_of(index) for row in rows)
        return len(found)

    # Begun here, because that imports Lightning.
    ScoreFolder(Path("scores"), {"x": 1}, COLUMNS)
    assert killed_again_and_again("rows", look, 0.004) > 0
    folder = ScoreFolder(Path("scores"), {"x": 1}, COLUMNS)
    whole = dict(folder.images())
    folder.finish()
    assert dict(folder.images()) == whole and not list(Path("scores").glob("rows.*"))
