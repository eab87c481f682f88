"""Coco: layouts, masks of whole categories, and one sentence for whatever is wrong."""

import os

import numpy as np
import pytest
import torch
from helpers.coco_tree import box_mask, plant, polygon, run_lengths
from PIL import Image
from pycocotools import mask as coco_masks

from livecam.core.batch import read_batch
from livecam.data import Coco

PERSON, DOG, BRUSH = 1, 18, 90


def data(root, **given):
    settings = {"image_size": 20, "resize": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1], "num_workers": 0}
    return Coco(str(root), **settings | given)


def scene(root, size=(30, 20), **given):
    """The only validation sample at the size of its file, and its masks by category."""
    found = data(root, **given).sets["val"]
    found.transform = lambda image, masks: (image, masks)
    (sample,) = (found[index] for index in range(len(found)))
    return sample, dict(zip(sample["categories"].tolist(), sample["masks"].numpy()))


def test_both_parts_of_a_year(tmp_path):
    plant(tmp_path, ["b.jpg", "a.jpg"], [("a.jpg", PERSON, [polygon(0, 0, 9, 9)])], "train2017")
    plant(tmp_path, ["c.jpg", "d.jpg"], [("d.jpg", BRUSH, [polygon(0, 0, 9, 9)]), ("d.jpg", DOG, [])])
    found = data(tmp_path, batch_size=2)
    # In the order of their numbers, which leave gaps.
    assert found.class_names == ["person", "dog", "toothbrush"] and (found.num_classes, found.head) == (3, "multilabel")
    assert [photo.path for photo in found.sets["train"].photos] == ["train2017/a.jpg", "train2017/b.jpg"]
    assert found.sets["train"].targets.tolist() == [[True, False, False], [False] * 3]
    train = next(iter(found.train_dataloader()))
    assert train.keys() == {"image", "label", "index"}, "training reads no masks"
    batch = next(iter(found.val_dataloader()))
    assert batch["label"].tolist() == [[False] * 3, [False, True, True]] and batch["index"].tolist() == [0, 1]
    where, category, mask = batch["pairs"]
    assert where.tolist() == [1, 1] and category.tolist() == [1, 2]
    assert mask.shape == (2, 20, 20) and mask.dtype == torch.bool and mask.flatten(1).any(1).tolist() == [False, True]
    assert read_batch(batch).one_row_per_label().label.tolist() == [1, 2]


@pytest.mark.parametrize("folder", ["val2017", "images/val2017", "images"])
@pytest.mark.parametrize("where", ["annotations", ""])
def test_images_and_annotations_in_the_places_that_people_choose(tmp_path, folder, where):
    file = plant(tmp_path, ["a.jpg"], [("a.jpg", DOG, [polygon(0, 0, 9, 9)])], folder=folder)
    os.rename(file, tmp_path / where / file.name)
    found = data(tmp_path)
    assert [photo.path for photo in found.sets["val"].photos] == [f"{folder}/a.jpg"]
    with pytest.raises(ValueError, match=r"found nothing to train on in .*these data are for validation and"):
        found.train_dataloader()


@pytest.mark.parametrize("part", ["train2014", ""])
def test_one_file_is_divided(tmp_path, part):
    names = [f"{i:02}.jpg" for i in range(10)]
    plant(tmp_path, names, [(name, DOG, [polygon(0, 0, 9, 9)]) for name in names], part)
    found = data(tmp_path)
    train, val = ([photo.path[-6:] for photo in found.sets[key].photos] for key in ("train", "val"))
    assert not found.sets["train"].with_masks and found.sets["val"].with_masks, "training reads no masks"
    assert len(val) == 2 and sorted(train + val) == names
    again, other = (
        [photo.path[-6:] for photo in data(tmp_path, seed=seed, val_fraction=0.4).sets["val"].photos] for seed in (0, 1)
    )
    assert len(again) == 4 and set(val) < set(again) and again != other


@pytest.mark.parametrize("kind", ["polygon", "lengths", "compressed"])
def test_masks_are_those_that_were_drawn(tmp_path, kind):
    drawn = box_mask(3, 2, 11, 15)
    if kind == "polygon":
        region = [polygon(3, 2, 11, 15)]
    elif kind == "lengths":
        region = run_lengths(drawn)
    else:
        region = coco_masks.encode(np.asfortranarray(drawn.astype(np.uint8)))
        region["counts"] = region["counts"].decode()
    plant(tmp_path, ["a.png"], [("a.png", DOG, region)])
    _, masks = scene(tmp_path)
    assert masks.keys() == {1} and np.array_equal(masks[1], drawn)


def test_compressed_codes_are_read_as_the_library_writes_them(tmp_path):
    noise = np.random.default_rng(0)
    masks = [noise.random((20, 30)) < share for share in (0.03, 0.5, 0.97)] + [
        box_mask(0, 0, 30, 20),
        box_mask(0, 0, 1, 1),
    ]
    for number, drawn in enumerate(masks):
        region = coco_masks.encode(np.asfortranarray(drawn.astype(np.uint8)))
        file = plant(
            tmp_path / str(number), ["a.png"], [("a.png", DOG, region | {"counts": region["counts"].decode()})]
        )
        assert np.array_equal(scene(tmp_path / str(number))[1][1], drawn), file


def test_all_of_a_category_is_one_mask_with_its_crowds(tmp_path):
    first, second, crowd, hand = (
        box_mask(*box) for box in ((0, 0, 5, 5), (10, 2, 14, 9), (20, 10, 30, 20), (2, 2, 8, 8))
    )
    crowd = {"id": 5, "image_id": 7, "category_id": PERSON, "iscrowd": 1, "segmentation": run_lengths(crowd)}
    several = [polygon(0, 0, 5, 5), polygon(10, 2, 14, 9)]
    single = {"id": 6, "image_id": 7, "category_id": PERSON, "segmentation": several}
    plant(tmp_path, ["a.png"], [single, crowd, ("a.png", BRUSH, [polygon(2, 2, 8, 8)])])
    sample, masks = scene(tmp_path)
    assert sample["label"].tolist() == [True, False, True]
    assert np.array_equal(masks[0], first | second | box_mask(20, 10, 30, 20)) and np.array_equal(masks[2], hand)


def test_masks_follow_resized_copies_and_transforms(tmp_path, caplog):
    plant(tmp_path, ["a.png"], [("a.png", DOG, [polygon(15, 0, 30, 10)])])
    Image.fromarray(np.zeros((10, 15, 3), np.uint8)).save(tmp_path / "val2017" / "a.png")
    _, masks = scene(tmp_path)
    # Columns 15 to 29 of 30 are half of them; a column in the middle of 15 may fall to either side.
    assert (
        masks[1].shape == (10, 15) and masks[1][:5, 8:].all() and not masks[1][5:].any() and not masks[1][:, :7].any()
    )
    small = data(tmp_path).sets["val"][0]["masks"]
    assert small.shape == (1, 20, 20) and torch.equal(small[0, :10, 10:], torch.ones(10, 10, dtype=torch.bool))
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "val2017" / "a.png")
    sample, masks = scene(tmp_path)
    assert masks == {} and sample["label"].any() and len(sample["masks"]) == 0, "labeled, and nobody knows where"
    assert "a.png were drawn on 30 x 20 px, but the file has 20 x 20 px: it counts as not annotated" in caplog.text
    with pytest.raises(ValueError, match=r"for more than 0 of 1 images: use the photos that the annotations belong to"):
        scene(tmp_path, max_unreadable=0)


@pytest.mark.parametrize(
    "region",
    [
        [],
        None,
        [[3, 3, 9, 9]],
        [polygon(5, 5, 5, 12)],
        [polygon(40, 5, 60, 12)],
        {"size": [20, 30], "counts": [600]},
    ],
)
def test_what_covers_nothing_is_a_label_with_an_empty_mask(tmp_path, region):
    plant(tmp_path, ["a.png"], [("a.png", DOG, region)])
    sample, masks = scene(tmp_path)
    assert sample["label"].tolist() == [False, True, False] and not masks[1].any()


def test_what_leaves_the_image_is_cut(tmp_path):
    plant(tmp_path, ["a.png"], [("a.png", DOG, [polygon(-8, -3, 4, 6)])])
    assert np.array_equal(scene(tmp_path)[1][1], box_mask(0, 0, 4, 6))


@pytest.mark.parametrize("mode", ["L", "CMYK", "1"])
def test_gray_and_other_images(tmp_path, mode):
    plant(tmp_path, ["a.jpg"], [("a.jpg", DOG, [polygon(0, 0, 9, 9)])])
    kind = "PNG" if mode == "1" else "JPEG"
    Image.new(mode, (30, 20)).save(tmp_path / "val2017" / "a.jpg", kind)
    batch = next(iter(data(tmp_path).val_dataloader()))
    assert batch["image"].shape == (1, 3, 20, 20)


def test_turned_photos_turn_their_masks(tmp_path):
    plant(tmp_path, ["a.jpg"], [("a.jpg", DOG, [polygon(0, 0, 10, 4)])])
    photo = Image.new("RGB", (30, 20))
    exif = photo.getexif()
    exif[0x0112] = 6  # to be turned clockwise
    photo.save(tmp_path / "val2017" / "a.jpg", exif=exif)
    _, masks = scene(tmp_path)
    assert np.array_equal(masks[1], np.rot90(box_mask(0, 0, 10, 4), -1))


@pytest.mark.parametrize("workers", [0, 2])
def test_cut_off_files_are_left_out_and_counted(tmp_path, workers):
    names = [f"{i}.jpg" for i in range(5)]
    plant(tmp_path, names, [(name, DOG, [polygon(0, 0, 9, 9)]) for name in names[1:]])
    file = tmp_path / "val2017" / "2.jpg"
    file.write_bytes(file.read_bytes()[:200])
    found = data(tmp_path, batch_size=3, num_workers=workers)
    first, second = found.val_dataloader()
    assert first["index"].tolist() == [0, 1] and second["index"].tolist() == [3, 4] and found.unreadable == 1
    # Places are those in the batch; the first image holds nothing.
    assert first["pairs"][0].tolist() == [1] and second["pairs"][0].tolist() == [0, 1]


def test_images_without_anything_make_batches_without_pairs(tmp_path):
    plant(tmp_path, ["a.jpg", "b.jpg"], [])
    batch = read_batch(next(iter(data(tmp_path).val_dataloader())))
    assert batch.pairs.mask.shape == (0, 20, 20) and len(batch.one_row_per_label()) == 0
