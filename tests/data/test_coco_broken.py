"""Coco: one sentence for whatever is missing or means nothing."""

import json
import os

import pytest
from helpers.coco_tree import CATEGORIES, plant
from PIL import Image

from livecam.data import Coco

DOG = 18


def data(root, **given):
    return Coco(str(root), image_size=20, resize="stretch", num_workers=0, **given)


def test_what_is_missing_is_reported_at_once(tmp_path, caplog):
    plant(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], [("a.jpg", DOG, []), (404, DOG, []), (404, DOG, []), (405, DOG, [])])
    (tmp_path / "val2017" / "b.jpg").unlink()
    with pytest.raises(ValueError) as error:
        data(tmp_path)
    assert str(error.value).endswith(
        "are not complete: instances_val2017.json: 1 of 3 images are not in val2017, such as b.jpg; "
        "instances_val2017.json: 3 annotations are of images that it does not list, such as 404. "
        "Copy what is missing, or go on with what is there by --data.allow_incomplete true."
    )
    found = data(tmp_path, allow_incomplete=True)
    assert len(found.sets["val"]) == 2 and "1 of 3 images are not in val2017" in caplog.text
    for name in ("a.jpg", "c.jpg"):
        (tmp_path / "val2017" / name).unlink()
    with pytest.raises(ValueError, match=r"None of the images that .* lists is there"):
        data(tmp_path, allow_incomplete=True)


def test_several_years_have_to_be_told_apart(tmp_path):
    for part in ("val2014", "val2017"):
        plant(tmp_path, [f"{part}.jpg"], [], part)
    with pytest.raises(
        ValueError, match=r"instances_val2014\.json and .*2017\.json: say which by year, such as --data"
    ):
        data(tmp_path)
    assert [photo.path for photo in data(tmp_path, year=2014).sets["val"].photos] == ["val2014/val2014.jpg"]
    with pytest.raises(FileNotFoundError, match="no file of instances of 2015"):
        data(tmp_path, year=2015)


def test_parts_of_different_years_share_images(tmp_path):
    plant(tmp_path, ["a.jpg"], [], "val2014")
    plant(tmp_path, ["b.jpg"], [], "train2017")
    with pytest.raises(ValueError, match=r"instances_train2017\.json and .*val2014\.json: say which by year"):
        data(tmp_path)
    assert len(data(tmp_path, year=2014).sets["val"]) == 1


def test_the_same_file_in_two_places(tmp_path):
    file = plant(tmp_path, ["a.jpg"], [])
    (tmp_path / file.name).write_text(file.read_text())
    with pytest.raises(ValueError, match=r"instances_val2017\.json and .*instances_val2017\.json: keep one of them"):
        data(tmp_path)


def test_files_that_do_not_belong_together(tmp_path):
    plant(tmp_path, ["a.jpg"], [])
    plant(tmp_path, ["b.jpg"], [], "train2017", categories=CATEGORIES[:2])
    with pytest.raises(ValueError, match="name different categories"):
        data(tmp_path)
    plant(tmp_path, ["b.jpg"], [], "")
    with pytest.raises(ValueError, match=r"instances\.json stands beside .*: keep the one or the others"):
        data(tmp_path)


def test_folders_without_instances(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file of instances in .*annotations/instances_val2017\.json"):
        data(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        data(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "it is not JSON"),
        ("[]", "it should hold images, annotations and categories"),
        ('{"images": [], "annotations": []}', "it should hold images, annotations and categories"),
        ('{"images": [3], "annotations": [], "categories": []}', "it should hold images, annotations and categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "two categories or more"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "each with an id of its own",
        ),
    ],
)
def test_files_that_are_none_of_instances(tmp_path, content, told):
    file = plant(tmp_path, ["a.jpg"], [])
    file.write_text(content)
    with pytest.raises(
        ValueError, match=rf"instances_val2017\.json is malformed: .*{told}.*correct or remove the file"
    ):
        data(tmp_path)


@pytest.mark.parametrize(
    "region",
    [
        "nonsense",
        [["a", 0, 0, 0, 0, 0]],
        [[0, 0, 1e9, 0, 0, 1e9]],
        [[0, 0, float("nan"), 0, 0, 5]],
        [[0, 0, 5, 0, 5, 5, 3]],
        {"size": [20, 30]},
        {"size": [30, 20], "counts": [600]},
        {"size": [20, 30], "counts": [10, 10]},
        {"size": [20, 30], "counts": [10**9]},
        {"size": [20, 30], "counts": "]]]]]]"},
        # More runs than there are pixels overflow the library's buffer.
        {"size": [20, 30], "counts": [0] * 400_000 + [600]},
        {"size": [20, 30], "counts": [700, -100]},
        {"size": [20, 30], "counts": [300.0, 300.0]},
        # Too few pixels leave it uninitialized; a last letter that goes on is read beyond.
        {"size": [20, 30], "counts": "0"},
        {"size": [20, 30], "counts": "5"},
        {"size": [20, 30], "counts": "hb"},
        {"size": [20, 30], "counts": "Ü0"},
    ],
)
def test_regions_that_mean_nothing_are_named(tmp_path, region):
    plant(tmp_path, ["a.png"], [("a.png", DOG, region)])
    with pytest.raises(
        ValueError, match=r"malformed: the segmentation of annotation 0 should be polygons .*30 x 20 px"
    ):
        data(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 2}]}, "annotation 4 has no category"),
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": [1]}]}, "annotation 4 has no category"),
        ({"annotations": [{"id": 4, "image_id": [7], "category_id": 1}]}, "annotation 4 has no image_id"),
        ({"images": [{"id": 7, "width": 3, "height": 3}]}, "it should hold .* images with a file_name"),
        ({"images": [{"id": {}, "file_name": "a.jpg"}]}, "it should hold .* an id that is a number or a text"),
        ({"images": [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}]}, "it lists 2 images of id 7"),
        ({"images": [{"id": 7, "file_name": "a"}, {"id": 8, "file_name": "a"}]}, "it lists 2 images of file_name 'a'"),
        (
            {"images": [{"id": 7, "file_name": "a.jpg", "width": 10**6, "height": 10**6}]},
            "width and height of .* pixels of a",
        ),
        (
            {"images": [{"id": 7, "file_name": "a.jpg", "width": 60000, "height": 60000}]},
            "width and height of .* pixels of a",
        ),
        ({"images": [{"id": 7, "file_name": "a.jpg", "width": 0, "height": 3}]}, "width and height of 'a.jpg'"),
    ],
)
def test_entries_that_lack_something_are_named(tmp_path, change, told):
    file = plant(tmp_path, ["a.jpg"], [])
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=f"malformed: {told}"):
        data(tmp_path)


def test_images_cannot_leave_the_root(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "secret.jpg")
    file = plant(tmp_path / "in", ["a.jpg"], [])
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = "../../secret.jpg"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"1 of 1 images are not in val2017, such as \.\./\.\./secret\.jpg"):
        data(tmp_path / "in")
    link = tmp_path / "in" / "val2017" / "b.jpg"
    link.symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(ValueError, match="leaves the data folder"):
        data(tmp_path / "in")
    link.unlink()
    os.rename(tmp_path / "in" / "val2017", tmp_path / "elsewhere")
    (tmp_path / "in" / "val2017").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="leaves the data folder"):
        data(tmp_path / "in")
