import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import max_pool2d
from torchvision import tv_tensors
from torchvision.transforms import v2

from livecam.core.normalization import IMAGENET, Normalization
from livecam.data.transforms import eval_transform, prepare_image, train_transform

PLAIN = Normalization((0.5,) * 3, (0.5,) * 3)


def picture(height, width, box):
    """A red box on blue, with its mask."""
    left, top, right, bottom = box
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[top:bottom, left:right] = 1
    image = torch.where(
        mask.bool(), torch.tensor([220, 40, 30])[:, None, None], torch.tensor([30, 60, 210])[:, None, None]
    )
    return tv_tensors.Image(image.to(torch.uint8)), tv_tensors.Mask(mask)


def grown(mask, pixels):
    return max_pool2d(mask[None].float(), 2 * pixels + 1, 1, pixels)[0] > 0


def same_up_to_boundary(mask, image, pixels=1):
    """Whether the mask is where the picture is red, save for ``pixels`` on either side of the outline."""
    red = image[0] > image[2]
    mask = mask.bool()
    return not (mask & ~grown(red, pixels)).any() and not (red & ~grown(mask, pixels)).any()


def test_the_oracle_sees_a_shift_of_three_pixels():
    image, mask = picture(40, 60, (10, 8, 30, 20))
    assert same_up_to_boundary(mask, image.int())
    assert not same_up_to_boundary(mask.roll(3, 1), image.int(), pixels=2)
    assert not same_up_to_boundary(mask.flip(1), image.int(), pixels=2)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), left=st.integers(0, 50), top=st.integers(0, 30), wide=st.booleans())
def test_masks_move_with_images_in_training(seed, left, top, wide):
    height, width = (60, 90) if wide else (90, 60)
    image, mask = picture(height, width, (left, top, left + 20, top + 14))
    torch.manual_seed(seed)
    moved, moved_mask = train_transform(48, PLAIN)(image, mask)
    assert moved.shape == (3, 48, 48)
    assert moved_mask.shape == (48, 48)
    # A small crop is enlarged: one pixel of the photo may then be several of the input.
    assert same_up_to_boundary(moved_mask, moved, pixels=2)


def test_training_crops_mirrors_and_recolors():
    image, mask = picture(60, 90, (5, 20, 25, 40))
    outcomes = []
    for seed in range(40):
        torch.manual_seed(seed)
        moved, moved_mask = train_transform(48, PLAIN)(image, mask)
        columns = moved_mask.any(0).nonzero()
        outcomes.append((int(moved_mask.sum()), float(columns.float().mean()), moved[2].max().item()))
    areas, centers, blues = map(np.array, zip(*outcomes, strict=True))
    assert len(set(areas.tolist())) > 20
    assert len(set(blues.round(3).tolist())) > 20
    assert (centers < 20).any() and (centers > 28).any()
    torch.manual_seed(3)
    again, _ = train_transform(48, PLAIN)(image, mask)
    torch.manual_seed(3)
    assert torch.equal(again, train_transform(48, PLAIN)(image, mask)[0])


@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("shape", [(64, 64), (60, 90), (300, 200), (20, 31)])
def test_masks_move_with_images_in_validation(resize, shape):
    height, width = shape
    image, mask = picture(height, width, (width // 3, height // 4, width // 2, height // 2))
    moved, moved_mask = eval_transform(48, PLAIN, resize)(image, mask)
    assert moved.shape == (3, 48, 48)
    assert moved_mask.any()
    assert same_up_to_boundary(moved_mask, moved, pixels=math.ceil(48 / min(shape)) if min(shape) < 48 else 1)


def test_crop_keeps_the_center_and_stretch_keeps_everything():
    # Shorter side 128 -> 256 (factor 2), then the middle 224: columns 72 to 184 of the photo's 256, rows 8 to 120.
    image, mask = picture(128, 256, (72, 8, 184, 120))
    assert eval_transform(224, PLAIN)(image, mask)[1].bool().all()
    image, mask = picture(128, 256, (74, 10, 182, 118))
    inner = eval_transform(224, PLAIN)(image, mask)[1].bool()
    assert inner[4:220, 4:220].all() and inner.sum() == 216 * 216
    # Stretched, the 108 x 108 box becomes 94.5 x 189 of 224 x 224 pixels.
    stretched = eval_transform(224, PLAIN, "stretch")(image, mask)[1].bool()
    assert abs(int(stretched.any(0).sum()) - 94.5) <= 1 and abs(int(stretched.any(1).sum()) - 189) <= 1


def test_pixels_are_normalized():
    white = tv_tensors.Image(torch.full((3, 30, 30), 255, dtype=torch.uint8))
    out = eval_transform(8, IMAGENET)(white)
    assert type(out) is torch.Tensor
    assert out.dtype == torch.float32
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert torch.allclose(out.mean((1, 2)), torch.tensor(expected), atol=1e-5)


def test_no_augmentation_is_the_preparation_of_validation():
    image, mask = picture(60, 90, (5, 20, 25, 40))
    for resize in ("crop", "stretch"):
        ours, theirs = train_transform(32, PLAIN, resize, 0), eval_transform(32, PLAIN, resize)
        for mine, yours in zip(ours(image, mask), theirs(image, mask), strict=True):
            assert torch.equal(mine, yours)


def test_a_photo_is_prepared_as_the_data_set_prepares_it():
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    one = prepare_image(Image.fromarray(pixels), 32, "stretch", [0.5] * 3, [0.25] * 3)
    normalization = Normalization((0.5,) * 3, (0.25,) * 3)
    other = eval_transform(32, normalization, "stretch")(tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1)))
    assert torch.equal(one, other)


def test_transforms_reach_spawned_workers():
    image, mask = picture(30, 30, (5, 5, 9, 9))
    transform = pickle.loads(pickle.dumps(eval_transform(16, PLAIN)))
    assert torch.equal(transform(image, mask)[0], eval_transform(16, PLAIN)(image, mask)[0])


def test_bad_arguments_are_explained():
    with pytest.raises(ValueError, match="image_size=0"):
        eval_transform(0, PLAIN)
    with pytest.raises(ValueError, match=r"'crop'.*'stretch'.*got 'pad'"):
        eval_transform(8, PLAIN, "pad")
    with pytest.raises(ValueError, match="strength from 0"):
        train_transform(8, PLAIN, augmentation=1.5)


def test_input_is_bit_for_bit_what_the_normalization_gives():
    noise = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    for stored in (noise, noise.permute(1, 2, 0).contiguous().permute(2, 0, 1)[:, 3:43, 5:45]):
        expected = IMAGENET.to_input(v2.functional.to_dtype(stored, torch.float32, scale=True))
        # The last steps, after all geometry.
        prepared = v2.Compose(eval_transform(40, IMAGENET).transforms[-3:])(tv_tensors.Image(stored))
        assert torch.equal(prepared, expected)
