"""Reads every file of a run folder to its end: what a kill leaves must be whole or not there."""

import csv
import html.parser
import json
from pathlib import Path

import torch
import yaml
from PIL import Image

from livecam.report.html.page_data import PageData


def check(folder: Path) -> dict[str, int]:
    """Parse or decode every file below ``folder``; returns how many of each kind there were.

    Left out are what nobody reads: files that are being written aside (``.*.part``), and W&B's own logs and lists.
    """
    counts: dict[str, int] = {}
    for file in sorted(folder.rglob("*")):
        own = "wandb" not in file.parts or file.suffix in (".jpg", ".json")
        if file.is_file() and own and not (file.name.startswith(".") and file.name.endswith(".part")):
            READERS[file.suffix](file)
            counts[file.suffix] = counts.get(file.suffix, 0) + 1
    return counts


def _picture(file: Path) -> None:
    with Image.open(file) as image:
        assert image.convert("RGB").getbbox(), file


def _page(file: Path) -> None:
    seen: list[str] = []
    parser = html.parser.HTMLParser()
    parser.handle_endtag = seen.append
    parser.feed(file.read_text("utf-8"))
    assert seen[-1] == "html", file


def _table(file: Path) -> None:
    with file.open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert len({len(row) for row in rows}) == 1, file


READERS = {
    ".jpg": _picture,
    ".html": _page,
    ".js": lambda file: PageData.from_js(file.read_text("ascii")),
    ".json": lambda file: json.loads(file.read_text("utf-8")),
    ".yaml": lambda file: yaml.safe_load(file.read_text("utf-8"))["trainer"],
    ".csv": _table,
    ".ckpt": lambda file: torch.load(file, weights_only=True)["loops"],
}
