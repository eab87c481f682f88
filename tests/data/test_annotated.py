"""AnnotatedPhotos: labels and boxes from one file, and one sentence for whatever is wrong with it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from livecam.data import AnnotatedPhotos


def write(root, entries, folder="images", size=(50, 40)):
    """Photos of one color each, and what is said of them."""
    place = root / folder if folder else root
    for number, name in enumerate(entries):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((size[1], size[0], 3), 40 * number, np.uint8)).save(place / name)
    (root / "annotations.json").write_text(json.dumps(entries))


def data(root, **given):
    settings = {"image_size": 40, "resize": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1], "num_workers": 0}
    return AnnotatedPhotos(str(root), **settings | given)


def samples(root, **given):
    (photos,) = (part for name, part in data(root, **given).sets.items() if name == "val")
    return [photos[index] for index in range(len(photos))]


@pytest.mark.parametrize("folder", ["images", ""])
def test_photos_come_in_the_order_of_their_paths(tmp_path, folder):
    labels = {"b.png": 2, "a10.png": 0, "sub/c.png": 1, "a2.png": 2}
    write(tmp_path, {name: {"label": label} for name, label in labels.items()}, folder)
    found = data(tmp_path)
    photos = found.sets["val"].photos
    prefix = f"{folder}/" if folder else ""
    assert [photo.path for photo in photos] == [prefix + name for name in ("a10.png", "a2.png", "b.png", "sub/c.png")]
    assert [sample["label"] for sample in samples(tmp_path)] == [0, 2, 2, 1]
    # The pixels are those of the file that the label belongs to.
    shades = [round(255 * float(sample["image"].mean())) for sample in samples(tmp_path)]
    assert shades == [40, 120, 0, 80]
    assert (found.num_classes, found.class_names) == (3, ["class 0", "class 1", "class 2"])
    batch = next(iter(found.val_dataloader()))
    assert batch["label"].tolist() == [0, 2, 2, 1] and batch["index"].tolist() == [0, 1, 2, 3]
    assert "mask" not in batch


def test_boxes_become_masks(tmp_path):
    entries = {
        "a.png": {"label": 0, "boxes": [[10, 8, 20, 24]], "width": 50, "height": 40},
        "b.png": {"label": 1, "boxes": [[0, 0, 5, 4], [45, 36, 50, 40]]},
        "c.png": {"label": 1, "boxes": []},
        "d.png": {"label": 0},
    }
    write(tmp_path, entries)
    found = samples(tmp_path)
    # 50 x 40 px become 40 x 40: columns shrink by 4/5, rows stay.
    masks = torch.zeros(4, 40, 40, dtype=torch.bool)
    masks[0, 8:24, 8:16] = True
    masks[1, 0:4, 0:4] = masks[1, 36:40, 36:40] = True
    for sample, mask in zip(found, masks):
        assert torch.equal(sample["mask"], mask)
    # Without boxes a photo is not annotated, however that is written.
    assert [sample["has_mask"] for sample in found] == [True, True, False, False]


@pytest.mark.parametrize("size", [(80, 80), (50, 41), (51, 40)])
def test_boxes_of_another_photo_cost_its_mask_and_too_many_are_refused(tmp_path, size, caplog):
    entry = {"label": 0, "boxes": [[0, 0, 5, 5]], "width": size[0], "height": size[1]}
    write(tmp_path, {"a.png": entry, "b.png": {"label": 0, "boxes": [[0, 0, 5, 5]]}, "c.png": entry})
    assert [sample["has_mask"] for sample in samples(tmp_path)] == [False, True, False]
    assert f"drawn on {size[0]} x {size[1]} px, but the file has 50 x 40 px: it counts as not annotated" in caplog.text
    with pytest.raises(ValueError, match=r"c\.png were drawn on .* for more than 1 of 3 images: use the photos that"):
        samples(tmp_path, max_unreadable=1)


@pytest.mark.parametrize("size", [(100, 80), (500, 401)])
def test_boxes_follow_a_copy_of_another_size(tmp_path, size):
    boxes = [[0, 0, size[0] / 2, size[1] / 4]]
    write(tmp_path, {"a.png": {"label": 0, "boxes": boxes, "width": size[0], "height": size[1]}})
    (copy,) = samples(tmp_path)
    write(tmp_path, {"a.png": {"label": 0, "boxes": [[0, 0, 25, 10]]}})
    (same,) = samples(tmp_path)
    assert copy["mask"].any() and torch.equal(copy["mask"], same["mask"])


def test_boxes_outside_of_a_photo_are_no_annotation_and_said_so_once(tmp_path, caplog):
    write(tmp_path, {"a.png": {"label": 0, "boxes": [[60, 0, 90, 5]]}, "b.png": {"label": 0, "boxes": [[-9, 2, 5, 5]]}})
    found = data(tmp_path).sets["val"]
    for _ in range(2):
        first, second = found[0], found[1]
    assert not first["has_mask"] and not first["mask"].any() and second["has_mask"] and second["mask"].any()
    assert [record.getMessage() for record in caplog.records] == [
        "What is marked in images/a.png lies outside of it: it counts as not annotated."
    ]


def test_names_of_classes(tmp_path):
    entries = {"a.png": {"label": 3, "name": "wolf"}, "b.png": {"label": 0, "name": "dog"}, "c.png": {"label": 3}}
    write(tmp_path, entries)
    assert data(tmp_path).class_names == ["dog", "class 1", "class 2", "wolf"]
    # Of as many classes as the network knows.
    found = data(tmp_path, num_classes=6)
    assert found.num_classes == 6 and found.class_names[3:] == ["wolf", "class 4", "class 5"]
    write(tmp_path, {"a.png": {"label": 0}})
    assert data(tmp_path).num_classes == 2, "one class is no classification"


def test_there_is_nothing_to_train_on(tmp_path):
    write(tmp_path, {"a.png": {"label": 0}})
    with pytest.raises(ValueError, match=r"nothing to train on in .*: these data are for validation and"):
        data(tmp_path).train_dataloader()
    # Testing takes the same photos.
    assert next(iter(data(tmp_path).test_dataloader()))["index"].tolist() == [0]


def test_files_that_cannot_be_read_are_skipped_and_counted(tmp_path):
    write(tmp_path, {"a.png": {"label": 0}, "b.png": {"label": 1}})
    (tmp_path / "images" / "a.png").write_bytes(b"no picture")
    found = data(tmp_path)
    assert next(iter(found.val_dataloader()))["label"].tolist() == [1]
    assert found.unreadable == 1 and found.sets["val"].unreadable_files == ["images/a.png"]


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist: root should be a folder that holds annotations"):
        data(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"There is no .*annotations\.json: it maps the path of each photo to"):
        data(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", "3", '"text"'])
def test_a_file_of_another_kind(tmp_path, content):
    (tmp_path / "annotations.json").write_text(content)
    with pytest.raises(ValueError, match=r"annotations\.json is malformed: it should map paths of photos to dicts"):
        data(tmp_path)


def test_a_file_that_is_no_json(tmp_path):
    (tmp_path / "annotations.json").write_text('{"a.png": ')
    with pytest.raises(ValueError, match=r"is malformed: it is not JSON .*; correct or remove the file"):
        data(tmp_path)


@pytest.mark.parametrize("entry", [{}, [], 3, None, {"label": "wolf"}, {"label": -1}, {"label": 1.0}, {"label": None}])
def test_bad_labels(tmp_path, entry):
    write(tmp_path, {"a.png": {"label": 0}, "b.png": entry})
    with pytest.raises(ValueError, match=r"is malformed: 'images/b\.png' should have a label, a class index from 0"):
        data(tmp_path)


@pytest.mark.parametrize(
    "boxes",
    [[[1, 2, 3]], [[3, 0, 1, 4]], [[0, 4, 4, 4]], [1, 2, 3, 4], "box", [["0", 0, 1, 1]], {"x": 1}, [[0, 0, 1, 1e999]]],
)
def test_bad_boxes(tmp_path, boxes):
    write(tmp_path, {"a.png": {"label": 0, "boxes": boxes}})
    with pytest.raises(ValueError, match=r"each box of 'images/a\.png' should be \[x1, y1, x2, y2\] with x1 < x2"):
        data(tmp_path)


@pytest.mark.parametrize("size", [{"width": 50}, {"width": 0, "height": 40}, {"width": 50.0, "height": 40}])
def test_bad_sizes(tmp_path, size):
    write(tmp_path, {"a.png": {"label": 0} | size})
    with pytest.raises(ValueError, match=r"width and height of 'images/a\.png' should both be whole numbers"):
        data(tmp_path)


def test_a_label_beyond_the_classes(tmp_path):
    write(tmp_path, {"a.png": {"label": 0}, "b.png": {"label": 4}})
    with pytest.raises(ValueError, match=r"gives images/b\.png label 4, but there are 3 classes\."):
        data(tmp_path, num_classes=3)


def test_a_photo_that_is_not_there(tmp_path):
    write(tmp_path, {"a.png": {"label": 0}})
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"names images/a\.png, which is not there: photos lie beside it or in"):
        data(tmp_path)


@pytest.mark.parametrize("what", ["photo", "path", "annotations"])
def test_nothing_leads_out_of_the_root(tmp_path, what):
    outside, root = tmp_path / "outside", tmp_path / "root"
    for place in (outside, root):
        place.mkdir()
        write(place, {"a.png": {"label": 0}})
    if what == "photo":
        (root / "images" / "a.png").unlink()
        (root / "images" / "a.png").symlink_to(outside / "images" / "a.png")
    elif what == "path":
        (root / "annotations.json").write_text(json.dumps({"../../outside/images/a.png": {"label": 0}}))
    else:
        (root / "annotations.json").unlink()
        (root / "annotations.json").symlink_to(outside / "annotations.json")
    with pytest.raises(ValueError, match="leaves the data folder"):
        data(root)


def test_a_link_within_the_root_is_fine(tmp_path):
    write(tmp_path, {"a.png": {"label": 0}, "b.png": {"label": 1}})
    (tmp_path / "images" / "b.png").unlink()
    (tmp_path / "images" / "b.png").symlink_to(tmp_path / "images" / "a.png")
    assert len(samples(tmp_path)) == 2
