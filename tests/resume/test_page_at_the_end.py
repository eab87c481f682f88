"""However a process that logs comes to its end: nothing is lost, or after a kill, nothing is half there."""

import json
import signal
import subprocess
import sys

import pytest
import whole_files

from livecam.report.html.page_data import PageData

pytestmark = pytest.mark.slow

LOGGING = """
import sys
import numpy as np
from livecam.report.html.logger import HTMLLogger
logger = HTMLLogger(".", name="run")
for step in range(int(sys.argv[1])):
    logger.log_image("g", [np.full((200, 600, 3), step % 200 + 1, np.uint8)] * 3, step)
    logger.log_metrics({"loss": 1.0}, step)
    if step == 20:
        print("writing", flush=True)
logger.log_table("last", ["a"], [[1]])
exec(sys.argv[2])
"""


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise RuntimeError"])
def test_an_end_of_any_kind_loses_nothing(tmp_path, end):
    subprocess.run([sys.executable, "-c", LOGGING, "30", end], cwd=tmp_path, timeout=120, stderr=subprocess.DEVNULL)
    data = PageData.from_js((tmp_path / "run" / "data.js").read_text("ascii"))
    assert list(data.tables) == ["last"] and list(data.galleries["g"]) == list(range(30))
    assert len(list((tmp_path / "run" / "media").glob("*.jpg"))) == 90


def test_a_kill_leaves_a_whole_page(tmp_path):
    command = [sys.executable, "-c", LOGGING, "1000000", ""]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    counts = whole_files.check(tmp_path / "run")
    galleries = json.loads((tmp_path / "run" / "data.js").read_text()[len("window.LIVECAM = ") : -2])["galleries"]
    files = [image["file"] for entry in galleries[0]["entries"] for image in entry["images"]]
    assert counts[".html"] == counts[".js"] == 1 and 0 < len(files) <= counts[".jpg"]
    assert all((tmp_path / "run" / file).exists() for file in files)
