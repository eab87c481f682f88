"""The planted data: what depends on what, and whether masks are as exact as promised."""

import colorsys
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from livecam.data import PlantedShapesData
from livecam.data.planted import CLASSES, PlantedShapes


def components(mask: torch.Tensor) -> list[torch.Tensor]:
    """Connected parts of a mask ``(H, W)`` that lie wholly inside the image, by flooding with the largest number."""
    numbers = torch.arange(1.0, mask.numel() + 1).reshape(mask.shape) * mask
    while True:
        flooded = F.max_pool2d(numbers[None], 3, 1, 1)[0] * mask
        if torch.equal(flooded, numbers):
            break
        numbers = flooded
    border = torch.ones_like(mask)
    border[1:-1, 1:-1] = False
    parts = [numbers == number for number in numbers.unique() if number]
    return [part for part in parts if not (part & border).any()]


def grown(mask: torch.Tensor, by: int) -> torch.Tensor:
    """A mask with ``by`` pixels more on all sides, or fewer if negative."""
    value = F.max_pool2d((mask if by > 0 else ~mask)[None].float(), 2 * abs(by) + 1, 1, abs(by))[0].bool()
    return value if by > 0 else ~value


def diameter(mask: torch.Tensor) -> float:
    """Largest width over 180 directions, in pixels."""
    y, x = mask.nonzero().T.double()
    angles = torch.arange(180).double() * math.pi / 180
    along = x[:, None] * angles.cos() + y[:, None] * angles.sin()
    return float((along.amax(0) - along.amin(0)).max()) + 1


def hue(pixels: torch.Tensor) -> float:
    return colorsys.rgb_to_hsv(*pixels.double().mean(1).tolist())[0]


def test_an_image_depends_on_its_index_alone():
    forward, backward = PlantedShapes(6), PlantedShapes(60)
    torch.manual_seed(1)
    np.random.seed(1)
    ahead = [forward[i] for i in range(6)]
    torch.manual_seed(2)
    np.random.seed(2)
    back = [backward[i] for i in reversed(range(6))][::-1]
    for i, (one, other) in enumerate(zip(ahead, back)):
        assert one["index"] == i and one["label"] == other["label"]
        assert torch.equal(one["image"], other["image"]) and torch.equal(one["mask"], other["mask"])


def test_a_worker_draws_the_same_images():
    data = PlantedShapes(6)
    here = next(iter(DataLoader(data, 6)))
    there = next(iter(DataLoader(data, 6, num_workers=1)))
    assert here.keys() == there.keys() == {"image", "label", "mask", "has_mask", "index"}
    assert all(torch.equal(here[key], there[key]) for key in here)


def test_samples_are_what_a_batch_should_be():
    batch = next(iter(DataLoader(PlantedShapes(5, num_classes=3, size=40), 5)))
    assert batch["image"].shape == (5, 3, 40, 40) and batch["image"].dtype == torch.float32
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert batch["mask"].shape == (5, 40, 40) and batch["mask"].dtype == torch.bool
    assert batch["has_mask"].all() and batch["index"].tolist() == [0, 1, 2, 3, 4]
    assert batch["label"].tolist() == PlantedShapes(5, num_classes=3).targets


def test_images_differ_by_index_split_and_seed():
    drawn = [
        PlantedShapes(4, split=split, seed=seed)[index]["image"]
        for split in ("train", "val", "test")
        for seed in (0, 1)
        for index in range(4)
    ]
    distances = torch.cdist(torch.stack(drawn).flatten(1), torch.stack(drawn).flatten(1))
    assert distances.fill_diagonal_(99).min() > 1


def test_classes_are_balanced_and_every_image_shows_one():
    data = PlantedShapes(120, num_classes=6)
    assert data.classes == list(CLASSES)
    assert np.bincount(data.targets).tolist() == [20] * 6
    shares = torch.stack([data[i]["mask"] for i in range(120)]).float().mean((1, 2))
    assert shares.min() > 0.01 and shares.max() < 0.6


# Area over squared diameter; a polygon's and a disc's are textbook values, and two shapes that touch have others.
SHARES = {
    "disc": math.pi / 4,
    "square": 1 / 2,
    "triangle": math.sqrt(3) / 4,
    # Ten triangles from the center to a tip (1.55) and a notch (0.68); tips two apart are farthest from each other.
    "star": 5 * 1.55 * 0.68 * math.sin(math.pi / 5) / (2 * 1.55 * math.sin(2 * math.pi / 5)) ** 2,
    # A ring between radii r and R: pi (R^2 - r^2) / (2 R)^2 with R, r = 0.95 +- 0.36.
    "ring": math.pi * (1.31**2 - 0.59**2) / (2 * 1.31) ** 2,
    # Two bars of 2.4 x 0.8 less their 0.8 x 0.8 crossing; opposite corners of one bar are farthest apart.
    "cross": (2 * 2.4 * 0.8 - 0.8**2) / (2.4**2 + 0.8**2),
}


@pytest.mark.parametrize("shape", SHARES)
def test_masks_have_the_areas_of_their_shapes(shape):
    data = PlantedShapes(9 * len(CLASSES), num_classes=len(CLASSES), size=192)
    masks = [data.draw(i)[1] for i in range(CLASSES.index(shape), len(data), len(CLASSES))]
    parts = [part for mask in masks for part in components(torch.from_numpy(mask))]
    assert len(parts) >= 5
    for part in parts:
        assert float(part.sum()) / diameter(part) ** 2 == pytest.approx(SHARES[shape], rel=0.05)


def test_masks_lie_exactly_where_the_objects_are():
    """An object is of one color, so its mask has less color variance than the same mask moved or grown a little."""
    data = PlantedShapes(40, size=128)
    sharper, total = 0, 0
    for i in range(len(data)):
        sample = data[i]
        for part in components(sample["mask"]):
            rivals = [part.roll(shift, axis) for shift in (-2, 2) for axis in (0, 1)] + [grown(part, 1)]
            own, *others = (float(sample["image"][:, place].var(1).sum()) for place in (part, *rivals))
            sharper += own < min(others)
            # And its rim is there: just outside, the color is another one.
            color = sample["image"][:, grown(part, -1)].mean(1, keepdim=True)
            inside, outside = part & ~grown(part, -1), grown(part, 3) & ~grown(part, 2) & ~sample["mask"]
            near, far = ((sample["image"][:, ring] - color).abs().sum(0).mean() for ring in (inside, outside))
            sharper += near < far
            total += 2
    assert total > 60 and sharper / total > 0.97


def test_mask_and_image_are_flipped_together():
    plain, flipped = PlantedShapes(4), PlantedShapes(4, transform=v2.RandomHorizontalFlip(p=1.0))
    for i in range(4):
        assert torch.equal(flipped[i]["image"], plain[i]["image"].flip(2))
        assert torch.equal(flipped[i]["mask"], plain[i]["mask"].flip(1))


def test_training_images_of_the_data_module_are_joint_flips_of_the_drawn_ones():
    data = PlantedShapesData(train_length=24, val_length=4)
    torch.manual_seed(0)
    seen = set()
    for i in range(24):
        pixels, mask = data.sets["train"].draw(i)
        sample = data.sets["train"][i]
        image = data.normalization.to_pixels(sample["image"])
        (axes,) = [
            axes
            for axes in ((), (1,), (2,), (1, 2))
            if torch.allclose(image, torch.from_numpy(pixels).flip(axes), atol=1e-5)
        ]
        assert torch.equal(sample["mask"], torch.from_numpy(mask).flip([axis - 1 for axis in axes]))
        seen.add(axes)
    assert len(seen) == 4
    still = data.sets["val"][1]
    assert torch.equal(still["mask"], torch.from_numpy(data.sets["val"].draw(1)[1]))


def probe(train: PlantedShapes, val: PlantedShapes) -> tuple[float, float]:
    """Accuracy of calling each image by the class whose mean background hue is nearest, in training and validation."""

    def angles(data):
        values = [hue(sample["image"][:, ~sample["mask"]]) for sample in (data[i] for i in range(len(data)))]
        angle = torch.tensor(values).double() * 2 * math.pi
        return torch.stack([angle.cos(), angle.sin()], 1), torch.tensor(data.targets)

    points, labels = angles(train)
    means = torch.stack([points[labels == label].mean(0) for label in range(len(train.classes))])
    return tuple(
        float((torch.cdist(points, means).argmin(1) == labels).double().mean())
        for points, labels in (angles(train), angles(val))
    )


def test_shortcut_betrays_the_class_in_training_only():
    train, val = (PlantedShapes(200, split=split, shortcut=1.0) for split in ("train", "val"))
    in_training, in_validation = probe(train, val)
    assert in_training > 0.95
    # 200 fair guesses among four: mean 0.25, standard deviation 0.031.
    assert abs(in_validation - 0.25) < 0.11


def test_a_weaker_shortcut_agrees_in_its_share():
    train, val = PlantedShapes(240, shortcut=0.6), PlantedShapes(8, split="val", shortcut=0.6)
    # 0.6 betrayed, a quarter of the others right by chance: 0.7, standard deviation 0.03.
    assert abs(probe(train, val)[0] - 0.7) < 0.1


@pytest.mark.parametrize("shortcut", [None, 0.0])
def test_without_a_shortcut_the_background_says_nothing(shortcut):
    train, val = (PlantedShapes(200, split=split, shortcut=shortcut) for split in ("train", "val"))
    assert max(probe(train, val)) < 0.40


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"num_classes": 1}, "2 to 6 classes, got num_classes=1"),
        ({"num_classes": 7}, "2 to 6 classes, got num_classes=7"),
        ({"size": 16}, "at least 24 px, got size=16"),
        ({"shortcut": 1.2}, "0 to 1, got 1.2"),
        ({"shortcut": -0.1}, "0 to 1, got -0.1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        PlantedShapes(4, **arguments)


def test_an_index_beyond_the_end_is_refused():
    with pytest.raises(IndexError, match="Index 4 is outside of 4 images"):
        PlantedShapes(4)[4]
    assert len(list(PlantedShapes(4))) == 4


def test_the_data_module_serves_all_stages():
    data = PlantedShapesData(num_classes=3, image_size=32, train_length=12, val_length=6, batch_size=6)
    assert data.class_names == list(CLASSES[:3]) and data.num_classes == 3 and data.head == "softmax"
    assert [len(data.train_dataloader().dataset), len(data.val_dataloader().dataset)] == [12, 6]
    (val,), (test,) = list(data.val_dataloader()), list(data.test_dataloader())
    assert val["index"].tolist() == list(range(6)) and not torch.equal(val["image"], test["image"])
    torch.manual_seed(0)
    order = [index for batch in data.train_dataloader() for index in batch["index"].tolist()]
    assert sorted(order) == list(range(12)) and order != sorted(order)
