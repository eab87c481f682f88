"""What W&B's offline files hold, as W&B's own reader prints them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

STEP = "trainer/global_step"


def segments(folder: Path, whole: bool = True) -> list[list[dict]]:
    """Records of each offline segment of a run folder, oldest first; not whole while they are being written."""
    tool = shutil.which("wandb", path=str(Path(sys.executable).parent)) or shutil.which("wandb")
    found = []
    for log in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.parent.name):
        command = [tool, "leet", "inspect", "--json", str(log)]
        told = subprocess.run(command, capture_output=True, text=True, check=whole).stdout
        found.append([json.loads(line) for line in told.splitlines() if line.startswith("{")])
    return found


def steps_of(records: list[dict]) -> list[int]:
    """Steps of the rows of a segment."""
    return [row[STEP] for row in rows_of(records) if STEP in row]


def rows_of(records: list[dict]) -> list[dict]:
    """History rows of a segment."""
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def ids_of(records: list[dict]) -> set[str]:
    """Run ids that a segment names."""
    return {record["run"]["run_id"] for record in records if record["type"] == "run"}
