"""What W&B's offline files hold, as W&B's own reader prints them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

from livecam.report.wandb_history import STEP, records


def segments(folder: Path) -> list[list[dict]]:
    """Records of each offline segment of a run folder, oldest first."""
    tool = shutil.which("wandb", path=str(Path(sys.executable).parent)) or shutil.which("wandb")
    found = []
    for log in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.parent.name):
        command = [tool, "leet", "inspect", "--json", str(log)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append([json.loads(line) for line in told.splitlines() if line.startswith("{")])
    return found


def quick_steps(folder: Path) -> list[list[int]]:
    """Steps of the rows of each segment, while they are being written too; quicker than W&B's own reader."""
    found = []
    for log in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.parent.name):
        items = [item for raw, _ in records(log.read_bytes()) for item in Record.FromString(raw).history.item]
        found.append([int(item.value_json) for item in items if STEP in (item.key, *item.nested_key)])
    return found


def rows_of(records: list[dict]) -> list[dict]:
    """History rows of a segment."""
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def ids_of(records: list[dict]) -> set[str]:
    """Run ids that a segment names."""
    return {record["run"]["run_id"] for record in records if record["type"] == "run"}
