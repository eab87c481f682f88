"""Commands find in a folder what a training would find there."""

import numpy as np
import pytest
from PIL import Image

from livecam.commands.networks import SeveralNetworks, load_networks
from livecam.commands.photos import find_photos
from livecam.data.folder import ImageFolderData
from livecam.data.image_io import SUFFIXES


def plant(root, *paths):
    pixels = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / path)


def test_what_trains_is_what_commands_find(tmp_path):
    names = [f"a{suffix}" for suffix in SUFFIXES] + ["deeper/b.PGM", "c.JPEG"]
    hidden = ["._a.jpg", ".cache/1.png", "deeper/.trash/2.png"]
    plant(tmp_path, *(f"{kind}/{name}" for kind in ("cat", "dog") for name in [*names, *hidden]))
    (tmp_path / "cat" / "notes.txt").write_text("no photo")
    sets = ImageFolderData(str(tmp_path), image_size=8, num_workers=0, val_fraction=0.5).sets
    trained = {photo.path for part in sets.values() for photo in part.photos}
    assert {path.relative_to(tmp_path).as_posix() for path in find_photos([str(tmp_path)])} == trained
    assert len(trained) == 2 * len(names)


def test_a_hidden_folder_or_file_that_is_named_is_taken(tmp_path):
    plant(tmp_path, ".photos/a.png", ".b.png")
    named = [str(tmp_path / ".photos"), str(tmp_path / ".b.png")]
    assert [path.name for path in find_photos(named)] == ["a.png", ".b.png"]


def test_a_photo_among_networks_is_seen_by_any_suffix():
    with pytest.raises(ValueError, match=r"b\.pgm is a picture"):
        load_networks(SeveralNetworks(checkpoint=["a.ckpt", "b.pgm"]))
