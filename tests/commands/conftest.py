"""Working folders for tests of commands."""

import json

import numpy as np
import pytest
from helpers.checkpoints import save_unet
from PIL import Image
from scored import CHECKPOINT, CPU


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with one checkpoint in it."""
    monkeypatch.chdir(tmp_path)
    save_unet(tmp_path / CHECKPOINT)
    return tmp_path


@pytest.fixture
def photos(here):
    """Five photos: boxes on 0, 1 and 4, none on 2, and 3 cannot be read."""
    noise = np.random.default_rng(0)
    (here / "photos" / "images").mkdir(parents=True)
    boxes = {0: [[4, 4, 20, 16]], 1: [[10, 10, 30, 30], [35, 5, 45, 20]], 4: [[0, 0, 50, 40]]}
    entries = {}
    for index in range(5):
        entry = {"label": index % 4, "width": 50, "height": 40}
        entries[f"{index}.{'jpg' if index == 3 else 'png'}"] = entry | (
            {"boxes": boxes[index]} if index in boxes else {}
        )
        if index != 3:
            Image.fromarray(noise.integers(0, 255, (40, 50, 3), np.uint8)).save(f"photos/images/{index}.png")
    (here / "photos" / "images" / "3.jpg").write_bytes(b"\xff\xd8 no picture")
    (here / "photos" / "annotations.json").write_text(json.dumps(entries))
    return ["--data", "AnnotatedPhotos", "--data.root", "photos", "--data.num_workers", "0", *CPU]
