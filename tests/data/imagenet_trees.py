"""Small trees of ILSVRC2012 in every layout: the same four validation photos, their labels, boxes and masks."""

import logging

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

from livecam.data import ImageNet
from livecam.data.imagenet.labels import ilsvrc_classes

# Known independently of the code: torchvision's indices.
LABELS = {"n01440764": 0, "n01443537": 1, "n02099601": 207, "n15075141": 999}
SIDE = 40
# Number of each photo -> its class and boxes as ILSVRC writes them, last pixel inclusive.
VAL = {
    1: ("n15075141", [(4, 6, 9, 11)]),
    2: ("n01440764", [(0, 0, 39, 39)]),
    7: ("n02099601", [(0, 0, 3, 4), (30, 31, 39, 39)]),
    31: ("n15075141", [(1, 2, 3, 4)]),
}


def masks():
    """Of the four photos in the order of their numbers; all are 40 x 40 px."""
    result = torch.zeros(4, SIDE, SIDE, dtype=torch.bool)
    result[0, 6:12, 4:10] = True
    result[1] = True
    result[2, 0:5, 0:4] = result[2, 31:40, 30:40] = True
    result[3, 2:5, 1:4] = True
    return result


def stem(number):
    return f"ILSVRC2012_val_{number:08d}"


def photo(path, shade=100, size=(SIDE, SIDE)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), shade, np.uint8)).save(path, "JPEG", quality=100)


def flat(folder, scale=1):
    """The photos, each of a shade by its number."""
    for number in VAL:
        photo(folder / f"{stem(number)}.JPEG", 5 * number, (SIDE * scale, SIDE * scale))


def by_class(folder):
    for number, (wnid, _) in VAL.items():
        photo(folder / wnid / f"{stem(number)}.JPEG", 5 * number)


def train(folder, *wnids):
    for wnid in wnids or LABELS:
        for number in (5, 12):
            photo(folder / wnid / f"{wnid}_{number}.JPEG")


def solution(path, val=VAL):
    rows = [
        f"{stem(number)}," + "".join(f"{wnid} {' '.join(map(str, box))} " for box in boxes)
        for number, (wnid, boxes) in reversed(val.items())
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["ImageId,PredictionString", *rows, ""]))


def xml(folder, val=VAL, size=(SIDE, SIDE), scale=1):
    folder.mkdir(parents=True, exist_ok=True)
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    for number, (wnid, boxes) in val.items():
        objects = "".join(
            f"<object><name>{wnid}</name><bndbox><xmin>{a * scale}</xmin><ymin>{b * scale}</ymin>"
            f"<xmax>{(c + 1) * scale - 1}</xmax><ymax>{(d + 1) * scale - 1}</ymax></bndbox></object>"
            for a, b, c, d in boxes
        )
        (folder / f"{stem(number)}.xml").write_text(f"<annotation>{sides}{objects}</annotation>")


def ids():
    """Numbers of the classes in another order than that of labels, as in the development kit."""
    return {wnid: 1 + 7 * label % 1000 for label, wnid in enumerate(ilsvrc_classes())}


def lists(folder, name="ILSVRC2012_validation_ground_truth.txt", word=None):
    """A line for each of the first 31 images."""
    numbers = ids()
    word = word or (lambda wnid: str(numbers[wnid]))
    lines = [word(VAL.get(number, ("n01443537", ()))[0]) for number in range(1, 32)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")


def meta(folder, numbers=None):
    """``meta.mat`` with the fields of the real one, and a class above the others."""
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, wnid, "words", 0) for wnid, number in (numbers or ids()).items()]
    folder.mkdir(parents=True, exist_ok=True)
    synsets = np.array([*rows, (1001, "n00001740", "entity", 2)], dtype=fields).reshape(-1, 1)
    savemat(folder / "meta.mat", {"synsets": synsets})


def build(root, **given):
    settings = {"image_size": SIDE, "resize": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1], "num_workers": 0}
    return ImageNet(str(root), **settings | {"allow_incomplete": True} | given)


def told(caplog, *levels):
    """What livecam said at these levels, by default warnings."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("livecam") and record.levelno in (levels or (logging.WARNING,))
    ]
