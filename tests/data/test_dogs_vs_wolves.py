import json
import os

import pytest
import torch
from PIL import Image

from livecam.data.dogs_vs_wolves import DogsVsWolves


def plant(root, dogs=6, wolves=5, annotations=None, duplicates=None):
    for name, count in (("dogs", dogs), ("wolves", wolves)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (40, 20), (200, 100, 10 * i)).save(root / name / f"{i}.png")
    for file, content in (("annotations", annotations), ("near_duplicates", duplicates)):
        if content is not None:
            text = content if isinstance(content, str) else json.dumps(content)
            (root / f"{file}.json").write_text(text)
    return root


def build(root, **arguments):
    return DogsVsWolves(str(root), **{"image_size": 20, "resize": "stretch", "num_workers": 0, **arguments})


def test_boxes_become_masks_of_both_parts(tmp_path):
    annotations = {f"dogs/{i}.png": {"boxes": [[0, 0, 20, 10]], "width": 40, "height": 20} for i in range(6)}
    annotations["wolves/0.png"] = {"width": 40, "height": 20}
    annotations["wolves/1.png"] = {"boxes": []}
    data = build(plant(tmp_path / "d", annotations=annotations), augmentation=0)
    assert (data.class_names, data.num_classes, data.head) == (["dogs", "wolves"], 2, "binary")
    for part, dogs, wolves in (("train", 5, 4), ("val", 1, 1)):
        samples = [data.sets[part][i] for i in range(len(data.sets[part]))]
        assert [sample["label"] for sample in samples] == [0] * dogs + [1] * wolves
        for sample in samples:
            # Stretched from 40 x 20 to 20 x 20: the box is the upper left quarter.
            expected = torch.zeros(20, 20, dtype=torch.bool)
            if sample["label"] == 0:
                expected[:10, :10] = True
            assert torch.equal(sample["mask"], expected)
            assert sample["has_mask"] == (sample["label"] == 0)


def test_without_annotations_there_are_no_masks(tmp_path):
    assert "mask" not in build(plant(tmp_path / "d")).sets["train"][0]


def test_near_duplicates_stay_together(tmp_path):
    chain = [["wolves/0.png", "wolves/1.png", 0], ["wolves/1.png", "wolves/2.png", 3], ["wolves/9.png", "dogs/1.png"]]
    root = plant(tmp_path / "d", duplicates=chain)
    sides = set()
    for seed in range(12):
        data = build(root, seed=seed, val_fraction=0.6)
        held = {photo.path for photo in data.sets["val"].photos}
        sides.add(len(held & {f"wolves/{i}.png" for i in range(3)}))
    assert sides == {0, 3}


def test_absent_images_are_counted_once(tmp_path, caplog):
    annotations = {"dogs/0.png": {}, "dogs/99.png": {}, "../secret.png": {}}
    build(plant(tmp_path / "d", annotations=annotations))
    assert len(caplog.messages) == 1
    assert "annotations.json names 2 images that are not there, such as ../secret.png" in caplog.messages[0]


def refused(match, root, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        build(root)
    assert "\n" not in str(caught.value)


def test_missing_folders_are_named(tmp_path):
    refused(
        "does not exist: root should be a folder that holds the folders dogs/ and wolves/", tmp_path / "no", OSError
    )
    root = plant(tmp_path / "d")
    os.rename(root / "wolves", root / "Wolf")
    refused("but wolves/ is missing", root, FileNotFoundError)
    (root / "wolves").mkdir()
    refused("wolves holds no image", root)


@pytest.mark.parametrize(
    ("annotations", "match"),
    [
        ("{", "it is not JSON"),
        ([1], "it should map paths of images to dicts"),
        ({"dogs/0.png": [1, 2, 3, 4]}, "the entry of 'dogs/0.png' should be a dict"),
        ({"dogs/0.png": {"boxes": [1, 2, 3, 4]}}, "each box of 'dogs/0.png' should be"),
        ({"dogs/0.png": {"boxes": [[1, 2, 3]]}}, "each box"),
        ({"dogs/0.png": {"boxes": [[1, 2, 1, 4]]}}, "x1 < x2 and y1 < y2"),
        ({"dogs/0.png": {"boxes": [["1", 2, 3, 4]]}}, "each box"),
        ('{"dogs/0.png": {"boxes": [[1, 2, NaN, 4]]}}', "each box"),
        ('{"dogs/0.png": {"boxes": [[1, 2, Infinity, 4]]}}', "each box"),
        ({"dogs/0.png": {"boxes": "none"}}, "each box"),
        ({"dogs/0.png": {"width": 40}}, "width and height of 'dogs/0.png'"),
        ({"dogs/0.png": {"width": 40.5, "height": 20}}, "width and height"),
    ],
)
def test_malformed_annotations_are_explained(tmp_path, annotations, match):
    root = plant(tmp_path / "d", annotations=annotations)
    refused(f"annotations.json is malformed: .*{match}.*; correct or remove the file", root)


@pytest.mark.parametrize("duplicates", ["[", {"a": "b"}, ["ab"], [["wolves/0.png"]], [["wolves/0.png", 1]]])
def test_malformed_duplicates_are_explained(tmp_path, duplicates):
    refused("near_duplicates.json is malformed: ", plant(tmp_path / "d", duplicates=duplicates))


def test_links_may_not_leave_the_root(tmp_path):
    root = plant(tmp_path / "d")
    (tmp_path / "annotations.json").write_text("{}")
    os.symlink(tmp_path / "annotations.json", root / "annotations.json")
    refused("annotations.json is a link that leaves the data folder", root)
    os.remove(root / "annotations.json")
    os.rename(root / "wolves", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", root / "wolves")
    refused("wolves is a link that leaves the data folder", root)


@pytest.fixture(scope="module")
def real():
    if not (folder := os.environ.get("LIVECAM_DATA")):
        pytest.skip("LIVECAM_DATA is not set: no real photos to read")
    return os.path.join(folder, "dogs_vs_wolves")


def test_the_real_set_is_divided_without_parting_near_duplicates(real):
    data = DogsVsWolves(real, image_size=64, num_workers=0, batch_size=40)
    train, val = ({photo.path for photo in data.sets[part].photos} for part in ("train", "val"))
    assert len(train) + len(val) == len(train | val) == 1998
    assert abs(data.sets["val"].targets.count(0) - 200) <= 1 and abs(data.sets["val"].targets.count(1) - 200) <= 1
    with open(os.path.join(real, "near_duplicates.json")) as file:
        pairs = json.load(file)
    assert len(pairs) == 54
    assert all((first in val) == (second in val) for first, second, _ in pairs)
    assert 0 < sum(first in val for first, _, _ in pairs) < 54


def test_real_masks_are_sane(real):
    data = DogsVsWolves(real, image_size=64, num_workers=0, batch_size=24)
    dogs = next(iter(data.val_dataloader()))
    assert dogs["label"].unique().tolist() == [0]
    assert dogs["has_mask"].all()
    area = dogs["mask"].float().mean((1, 2))
    assert (area > 0.02).all() and 0.2 < area.mean() < 0.9
    both = next(iter(data.train_dataloader()))
    assert both["has_mask"].tolist() == (both["label"] == 0).tolist()
    assert not both["mask"][both["label"] == 1].any()
    assert both["image"].abs().max() < 3
    assert data.unreadable == 0
