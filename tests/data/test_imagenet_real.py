"""ImageNet against AnnotatedPhotos on real validation photos, in three ways of saying labels and boxes."""

import json
import os
import shutil

import imagenet_trees as trees
import pytest
import torch

from livecam.data import AnnotatedPhotos, ImageNet

pytestmark = pytest.mark.slow
COUNT = 36


@pytest.fixture(scope="module")
def photos(data_folder, tmp_path_factory):
    """Every 13th photo and what is known of it, as AnnotatedPhotos reads them."""
    folder = tmp_path_factory.mktemp("annotated")
    known = json.loads((data_folder / "ilsvrc_val/annotations.json").read_text())
    chosen = {name: known[name] for name in sorted(known)[::13][:COUNT]}
    for name in chosen:
        shutil.copyfile(data_folder / "ilsvrc_val/images" / name, folder / name)
    (folder / "annotations.json").write_text(json.dumps(chosen))
    return folder, chosen


def with_csv(root, known):
    # Edges of boxes in pixels of the copies; the file names the last pixel inside.
    val = {
        int(name[15:23]): (entry["wnid"], [(a, b, c - 1, d - 1) for a, b, c, d in entry["boxes"]])
        for name, entry in known.items()
    }
    trees.solution(root / "LOC_val_solution.csv", val)


def with_xml(root, known):
    """Labels by the list of ids, boxes in pixels of the full-size photos, as the archive has them."""
    for name, entry in known.items():
        number, size = int(name[15:23]), (entry["orig_width"], entry["orig_height"])
        x, y = size[0] / entry["width"], size[1] / entry["height"]
        boxes = [(a * x, b * y, c * x - 1, d * y - 1) for a, b, c, d in entry["boxes"]]
        trees.xml(root / "ILSVRC2012_bbox_val_v3/val", {number: (entry["wnid"], boxes)}, size)
    lines(root / "imagenet_2012_validation_synset_labels.txt", known, lambda entry: entry["wnid"])


def with_kit(root, known):
    with_xml(root, known)
    os.remove(root / "imagenet_2012_validation_synset_labels.txt")
    numbers, kit = trees.ids(), root / "ILSVRC2012_devkit_t12/data"
    trees.meta(kit, numbers)
    lines(kit / "ILSVRC2012_validation_ground_truth.txt", known, lambda entry: numbers[entry["wnid"]])


def lines(path, known, word):
    by_number = {int(name[15:23]): word(entry) for name, entry in known.items()}
    other = next(iter(by_number.values()))
    path.write_text("".join(f"{by_number.get(number, other)}\n" for number in range(1, max(by_number) + 1)))


@pytest.mark.parametrize("say", [with_csv, with_xml, with_kit])
def test_three_ways_to_say_the_same(photos, tmp_path, say):
    folder, known = photos
    (tmp_path / "val").mkdir()
    for name in known:
        shutil.copyfile(folder / name, tmp_path / "val" / name.replace(".jpg", ".JPEG"))
    say(tmp_path, known)
    settings = {"image_size": 224, "num_workers": 0}
    data = ImageNet(str(tmp_path), allow_incomplete=True, **settings)
    expected = AnnotatedPhotos(str(folder), num_classes=1000, **settings)
    val, other = data.sets["val"], expected.sets["val"]
    assert len(val) == len(other) == COUNT
    for index in range(COUNT):
        sample, same = val[index], other[index]
        assert sample["label"] == same["label"] and torch.equal(sample["image"], same["image"])
        assert sample["has_mask"] and torch.equal(sample["mask"], same["mask"])
    for name, own in zip(expected.class_names, data.class_names):
        assert name.startswith("class ") or own.split(" (")[0] == name.split(",")[0]
