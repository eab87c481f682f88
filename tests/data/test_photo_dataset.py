import logging
import re

import numpy as np
import pytest
import torch
from test_image_io import SIDES, stored_pixels, write
from test_transforms import PLAIN, same_up_to_boundary
from torch.utils.data import DataLoader

from livecam.core.batch import read_batch
from livecam.data.image_io import UnreadableImageError
from livecam.data.photo_dataset import Photo, PhotoDataset, rasterize
from livecam.data.transforms import eval_transform, train_transform

RED, BLUE = (220, 40, 30), (30, 60, 210)


def test_boxes_are_rasterized_at_pixel_centers():
    # Centers lie at 0.5, 1.5, …; by hand on 6 x 4 pixels.
    mask = rasterize([(1.0, 0.0, 3.0, 2.0)], 6, 4)
    assert mask.dtype == torch.bool
    assert mask.int().tolist() == [[0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0] * 6, [0] * 6]
    assert rasterize([(0.5, 0.51, 2.5, 2.49)], 6, 4).int().tolist() == [[0] * 6, [1, 1, 0, 0, 0, 0], [0] * 6, [0] * 6]
    assert rasterize([(1.6, 1.6, 2.4, 2.4)], 6, 4).sum() == 0
    assert rasterize([(-5, -5, 0.6, 0.6), (5.4, 3.4, 99, 99)], 6, 4).nonzero().tolist() == [[0, 0], [3, 5]]
    assert rasterize([(-9, -9, -3, -3)], 6, 4).sum() == 0
    assert rasterize([(0, 0, 3, 2), (1, 1, 4, 3)], 6, 4).sum() == 6 + 6 - 2
    assert rasterize([], 6, 4).shape == (4, 6)


def photo_of_a_box(folder, name="photo.png", orientation=1, shape=(60, 90), box=(12, 20, 47, 41)):
    """Store a red box on blue as a camera would; returns its Photo with the box in stored pixels."""
    left, top, right, bottom = box
    scene = np.full((*shape, 3), BLUE, np.uint8)
    scene[top:bottom, left:right] = RED
    stored = stored_pixels(scene, orientation)
    write(folder / name, stored, orientation)
    rows, columns = np.nonzero(stored[..., 0] > stored[..., 2])
    return Photo(name, 1, ((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1),), stored.shape[1::-1])


@pytest.mark.parametrize("orientation", SIDES)
def test_boxes_follow_the_pixels_of_a_turned_photo(tmp_path, orientation):
    photo = photo_of_a_box(tmp_path, orientation=orientation)
    as_it_is = PhotoDataset(tmp_path, [photo], ["a", "b"], lambda image, mask: (image.int(), mask), with_masks=True)
    sample = as_it_is[0]
    assert sample["image"].shape == (3, 60, 90)
    assert torch.equal(sample["mask"], sample["image"][0] > sample["image"][2])
    assert sample["mask"].nonzero().amin(0).tolist() == [20, 12]

    for transform in (eval_transform(48, PLAIN), eval_transform(48, PLAIN, "stretch"), train_transform(48, PLAIN)):
        dataset = PhotoDataset(tmp_path, [photo], ["a", "b"], transform, with_masks=True)
        for seed in range(4):
            torch.manual_seed(seed)
            sample = dataset[0]
            assert sample["mask"].shape == (48, 48) and sample["mask"].any()
            assert same_up_to_boundary(sample["mask"], sample["image"], pixels=2)


def test_samples_tell_empty_from_unannotated(tmp_path):
    annotated = photo_of_a_box(tmp_path)
    nowhere, unknown = (Photo(annotated.path, 0, boxes) for boxes in ((), None))
    dataset = PhotoDataset(tmp_path, [annotated, nowhere, unknown], ["a", "b"], eval_transform(32, PLAIN), True)
    assert dataset.targets == [1, 0, 0]
    batch = read_batch(next(iter(DataLoader(dataset, 3, collate_fn=dataset.collate))))
    assert batch.image.shape == (3, 3, 32, 32) and batch.image.dtype == torch.float32
    assert batch.mask.dtype == batch.has_mask.dtype == torch.bool
    assert batch.mask.any(2).any(1).tolist() == [True, False, False]
    assert batch.has_mask.tolist() == [True, True, False]
    assert batch.label.tolist() == [1, 0, 0] and batch.index.tolist() == [0, 1, 2]
    assert type(batch.image) is type(batch.mask) is torch.Tensor


def test_sets_without_masks_have_none(tmp_path):
    photo_of_a_box(tmp_path)
    dataset = PhotoDataset(tmp_path, [Photo("photo.png", 0)], ["a", "b"], eval_transform(32, PLAIN))
    assert dataset[0].keys() == {"image", "label", "index"}
    assert dataset[-1]["index"] == 0
    with pytest.raises(IndexError):
        dataset[1]


def test_boxes_of_another_size_are_refused(tmp_path):
    photo_of_a_box(tmp_path)
    dataset = PhotoDataset(
        tmp_path, [Photo("photo.png", 0, ((1, 1, 9, 9),), (500, 375))], ["a"], eval_transform(32, PLAIN), True
    )
    assert not dataset[0]["has_mask"]
    dataset.max_unreadable = 0
    with pytest.raises(ValueError, match=r"photo\.png were drawn on 500 x 375 px, but the file has 90 x 60 px"):
        dataset[0]


def files_with_bad_ones(folder, count, bad, **options):
    for i in range(count):
        photo_of_a_box(folder, f"{i}.png", shape=(20, 20), box=(2, 2, 9, 9))
        if i in bad:
            (folder / f"{i}.png").write_bytes(b"")
    photos = [Photo(f"{i}.png", i % 2) for i in range(count)]
    return PhotoDataset(folder, photos, ["a", "b"], eval_transform(8, PLAIN), **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_files_are_skipped_counted_and_named_once(tmp_path, workers):
    dataset = files_with_bad_ones(tmp_path, 12, {1, 4, 5})
    # A file, because log records of worker processes reach no fixture.
    handler = logging.FileHandler(tmp_path / "log.txt")
    logging.getLogger("livecam.data.photo_dataset").addHandler(handler)
    try:
        for _ in range(2):
            loader = DataLoader(dataset, 4, num_workers=workers, collate_fn=dataset.collate)
            seen = torch.cat([batch["index"] for batch in loader])
            assert sorted(seen.tolist()) == [0, 2, 3, 6, 7, 8, 9, 10, 11]
    finally:
        logging.getLogger("livecam.data.photo_dataset").removeHandler(handler)
        handler.close()
    assert dataset.unreadable_files == ["1.png", "4.png", "5.png"]
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert len(lines) == 3
    assert all(sum(f"{tmp_path}/{i}.png" in line for line in lines) == 1 for i in (1, 4, 5))
    assert dataset[1] is None


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_corrupt_files_stop_the_run(tmp_path, workers):
    dataset = files_with_bad_ones(tmp_path, 12, {1, 6, 11}, max_unreadable=2)
    loader = DataLoader(dataset, 4, num_workers=workers, collate_fn=dataset.collate)
    message = None
    try:
        list(loader)
    except UnreadableImageError as error:
        # Dropping the traceback frees the loader at once; left to the garbage collector, its workers take 10 s to end.
        message = str(error.with_traceback(None))
    assert re.search(r"More than 2 of 12 images in .* 1\.png, 6\.png.*max_unreadable", message)
    # The same file again is no further one.
    dataset = files_with_bad_ones(tmp_path, 12, {1, 6}, max_unreadable=2)
    assert [dataset[i] for i in (1, 6, 1, 6, 1)] == [None] * 5


def test_the_default_limit_is_ten_or_a_hundredth(tmp_path):
    for count, limit in ((12, 10), (1000, 10), (5000, 50)):
        photos = [Photo(f"{i}.png", 0) for i in range(count)]
        dataset = PhotoDataset(tmp_path, photos, ["a"], eval_transform(8, PLAIN))
        assert [dataset[i] for i in range(10)] == [None] * 10
        if limit == 10:
            with pytest.raises(UnreadableImageError, match=rf"More than {limit} of {count}.*and 6 more"):
                dataset[10]
        else:
            assert dataset[10] is None


def test_a_batch_without_any_image_gets_a_stand_in(tmp_path):
    dataset = files_with_bad_ones(tmp_path, 4, {0, 1})
    batches = list(DataLoader(dataset, 2, collate_fn=dataset.collate))
    assert [batch["index"].tolist() for batch in batches] == [[2], [2, 3]]


def test_a_set_without_any_image_is_an_error(tmp_path):
    dataset = files_with_bad_ones(tmp_path, 2, {0, 1})
    with pytest.raises(UnreadableImageError, match=r"No image in .* can be read: 0\.png, 1\.png"):
        dataset.collate([None])
