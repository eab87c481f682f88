"""A tiny tree of Oxford-IIIT Pet in torchvision's layout."""

import numpy as np
import pytest
from PIL import Image

from livecam.data import OxfordPets

BREEDS = {"Abyssinian": 1, "english_setter": 2, "japanese_chin": 3}
# By hand: 12 x 8 px, the pet in rows 2 to 4 and columns 3 to 6, a border of one pixel around it.
TRIMAP = np.full((8, 12), 2, np.uint8)
TRIMAP[1:6, 2:8] = 3
TRIMAP[2:5, 3:7] = 1


def plant(root, trainval=4, test=2, trimap=TRIMAP):
    base = root / "oxford-iiit-pet"
    for folder in ("images", "annotations/trimaps"):
        (base / folder).mkdir(parents=True)
    # Files that come with the archives and belong to nobody.
    (base / "images" / "Abyssinian_1.mat").write_bytes(b"")
    (base / "annotations" / "trimaps" / "._Abyssinian_1.png").write_bytes(b"\0")
    lines = {"trainval": [], "test": []}
    for breed, label in BREEDS.items():
        for number in range(trainval + test):
            name = f"{breed}_{number + 1}"
            pixels = np.random.default_rng(label * 100 + number).integers(0, 255, (*trimap.shape, 3), np.uint8)
            Image.fromarray(pixels).save(base / "images" / f"{name}.jpg", quality=95)
            Image.fromarray(trimap).save(base / "annotations" / "trimaps" / f"{name}.png")
            lines["trainval" if number < trainval else "test"].append(f"{name} {label} {1 + label // 2} 1")
    for part, listed in lines.items():
        (base / "annotations" / f"{part}.txt").write_text("\n".join(listed) + "\n")
    return root


def build(root, **arguments):
    settings = {"image_size": 12, "resize": "stretch", "num_workers": 0, "augmentation": 0, "val_fraction": 0.25}
    return OxfordPets(str(root), **settings | arguments)


def refused(match, root, error=ValueError, **arguments):
    with pytest.raises(error, match=match) as caught:
        build(root, **arguments)
    assert "\n" not in str(caught.value)
