"""PlantedShapes: the embedded data set, drawn from a seed, with exact masks; nothing is on disk.

An image shows one to three instances of one shape on a textured background, beside blobs and bars that mean nothing.
The *shape* is the class: size, place, tilt and color vary freely. ``shortcut`` plants a background cue that
betrays the class in training and is worthless in validation, so that a map on the background is measurably wrong.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2
from torchvision.tv_tensors import Image, Mask

from livecam.core.errors import OptionError
from livecam.core.normalization import Normalization
from livecam.data.split_datamodule import SplitData

CLASSES = ("disc", "triangle", "cross", "ring", "square", "star")
_SPLITS = ("train", "val", "test")
_BLOCKS = 8  # cells per side of the coarse background texture


def _polygon(corners: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Regular polygon of area-equal size; its distance is measured along the nearest side's normal."""

    def inside(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        sector = 2 * np.pi / corners
        angle = (np.arctan2(y, x) + np.pi / 2) % sector - sector / 2
        apothem = np.sqrt(np.pi / (corners * np.tan(np.pi / corners)))
        return apothem - np.hypot(x, y) * np.cos(angle)

    return inside


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    sector = 2 * np.pi / 5
    angle = np.abs((np.arctan2(y, x) + np.pi / 2) % sector - sector / 2)
    # One straight edge from the inner corner (angle 0) to the tip (angle sector/2), in polar form.
    tip, notch = 1.55, 0.68
    tip_x, tip_y = tip * np.cos(sector / 2), tip * np.sin(sector / 2)
    normal = np.array([tip_y, notch - tip_x]) / np.hypot(tip_y, notch - tip_x)
    radius = np.hypot(x, y)
    return normal[0] * notch - radius * (normal[0] * np.cos(angle) + normal[1] * np.sin(angle))


# Signed "how far inside" of each shape in units of its radius; every shape has an area near that of the unit disc.
_SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": lambda x, y: 1 - np.hypot(x, y),
    "square": _polygon(4),
    "triangle": _polygon(3),
    "star": _star,
    "ring": lambda x, y: 0.36 - np.abs(np.hypot(x, y) - 0.95),
    "cross": lambda x, y: np.maximum(
        np.minimum(1.2 - np.abs(x), 0.4 - np.abs(y)), np.minimum(0.4 - np.abs(x), 1.2 - np.abs(y))
    ),
}


class PlantedShapes(Dataset):
    """A map-style data set of planted shapes; ``self[i]`` depends on the arguments and i alone.

    Args:
        length: Number of images.
        num_classes: How many of the six shapes take part, 2 to 6.
        size: Side of the square images in pixels.
        split: ``train``, ``val`` or ``test``: independent images.
        shortcut: Share of *training* images whose background tint agrees with the class; other tints are random.
        seed: Seed of everything drawn.
        transform: Applied to the image ``(3, S, S)`` in [0, 1] and its mask together (torchvision v2).

    Raises:
        OptionError: When an argument is out of range.
    """

    def __init__(
        self,
        length: int,
        num_classes: int = 4,
        size: int = 64,
        split: str = "train",
        shortcut: float | None = None,
        seed: int = 0,
        transform: Callable | None = None,
    ) -> None:
        if not 2 <= num_classes <= len(CLASSES):
            raise OptionError(f"PlantedShapes has 2 to {len(CLASSES)} classes, got num_classes={num_classes}.")
        if size < 24:
            raise OptionError(f"A planted shape needs images of at least 24 px, got size={size}.")
        if shortcut is not None and not 0 <= shortcut <= 1:
            raise OptionError(f"shortcut is the share of training images with the cue, 0 to 1, got {shortcut}.")
        self.classes = list(CLASSES[:num_classes])
        self.targets = [index % num_classes for index in range(length)]
        self.size = size
        self.split = split
        self.shortcut = shortcut
        self.seed = seed
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> dict[str, Tensor | int | bool]:
        if not 0 <= index < len(self):
            raise IndexError(f"Index {index} is outside of {len(self)} images.")
        pixels, mask = self.draw(index)
        image, mask = Image(torch.from_numpy(pixels)), Mask(torch.from_numpy(mask))
        if self.transform:
            image, mask = self.transform(image, mask)
        return {
            "image": image.as_subclass(Tensor),
            "label": self.targets[index],
            "mask": mask.as_subclass(Tensor).bool(),
            "has_mask": True,
            "index": index,
        }

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels ``(3, S, S)`` float32 in [0, 1] and mask ``(S, S)`` bool of one image."""
        rng = np.random.default_rng((self.seed, _SPLITS.index(self.split), index))
        label = self.targets[index]
        hue = self._hue(rng, label)
        canvas = self._background(rng, hue)
        mask = np.zeros((self.size, self.size), bool)
        for _ in range(rng.integers(1, 3)):
            self._distractor(rng, canvas)
        for _ in range(rng.choice((1, 2, 3), p=(0.65, 0.25, 0.1))):
            self._instance(rng, canvas, mask, self.classes[label])
        canvas += rng.normal(0, 0.02, canvas.shape)
        return np.clip(canvas, 0, 1).astype(np.float32), mask

    def _hue(self, rng: np.random.Generator, label: int) -> float:
        """Background hue: the class's own where the shortcut applies, any class's otherwise."""
        classes = len(self.classes)
        betrays = self.shortcut is not None and self.split == "train" and rng.random() < self.shortcut
        hue_class = label if betrays else rng.integers(classes)
        return (hue_class + 0.3 * rng.random()) / classes if self.shortcut is not None else rng.random()

    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        centers = (np.arange(self.size) + 0.5) / self.size
        return centers[None, :], centers[:, None]

    def _background(self, rng: np.random.Generator, hue: float) -> np.ndarray:
        x, y = self._grid()
        tint = _rgb(hue, 0.55 if self.shortcut is not None else 0.3, rng.uniform(0.3, 0.5))
        texture = np.zeros((self.size, self.size))
        for _ in range(3):
            angle, period, phase = rng.uniform(0, np.pi), rng.uniform(0.12, 0.6), rng.uniform(0, 2 * np.pi)
            texture += np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + phase)
        coarse = rng.normal(0, 1, (_BLOCKS, _BLOCKS)).repeat(-(-self.size // _BLOCKS), 0)
        coarse = coarse.repeat(-(-self.size // _BLOCKS), 1)[: self.size, : self.size]
        return tint[:, None, None] * (1 + 0.13 * texture + 0.08 * coarse)

    def _distractor(self, rng: np.random.Generator, canvas: np.ndarray) -> None:
        """A thin bar or a soft blob in any color: no outline that resembles a class."""
        x, y = self._grid()
        cx, cy, angle = rng.random(), rng.random(), rng.uniform(0, np.pi)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        color = _rgb(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.5, 0.9))[:, None, None]
        if rng.random() < 0.5:
            cover = ((np.abs(along) < rng.uniform(0.12, 0.3)) & (np.abs(across) < rng.uniform(0.012, 0.022))) * 0.9
        else:
            wide, high = rng.uniform(0.03, 0.08, 2)
            cover = 0.8 * np.exp(-((along / wide) ** 2) - (across / high) ** 2)
        canvas += cover * (color - canvas)

    def _instance(self, rng: np.random.Generator, canvas: np.ndarray, mask: np.ndarray, shape: str) -> None:
        x, y = self._grid()
        radius = rng.uniform(0.14, 0.2)
        margin = radius * 1.05
        for _ in range(20):
            cx, cy = rng.uniform(margin, 1 - margin, 2)
            spot = np.hypot(x - cx, y - cy) < 1.7 * radius
            if not (spot & mask).any():
                break
        else:
            # No free place: overlapping instances would make a new outline.
            return
        angle = rng.uniform(-0.35, 0.35)
        u = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)) / radius
        v = ((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)) / radius
        inside = _SHAPES[shape](u, v) * radius * self.size
        color = _rgb(rng.random(), rng.uniform(0.35, 0.95), rng.uniform(0.8, 1.0))[:, None, None]
        # Anti-aliased over one pixel; the mask is where the shape covers at least half of it.
        canvas += np.clip(inside + 0.5, 0, 1) * (color - canvas)
        mask |= inside >= 0


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """HSV to RGB, all in [0, 1]."""
    ramp = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - ramp))


class PlantedShapesData(SplitData):
    """Planted shapes as training, validation and test sets.

    Args:
        num_classes: How many shapes, 2 to 6.
        image_size: Side of the images in pixels.
        train_length: Images per training epoch.
        val_length: Images of the validation set, and of the test set.
        batch_size: Images per batch.
        shortcut: See :class:`PlantedShapes`; None plants no cue.
        num_workers: Loader processes; drawing is quick, so none are needed as a rule.
        seed: Seed of the images.
    """

    def __init__(
        self,
        num_classes: int = 4,
        image_size: int = 64,
        train_length: int = 1600,
        val_length: int = 400,
        batch_size: int = 10,
        shortcut: float | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
        self.batch_size, self.num_workers = batch_size, num_workers
        self.num_classes, self.image_size = num_classes, image_size
        to_input = v2.Normalize(self.mean, self.std)
        flips = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), to_input])
        lengths, transforms = (train_length, val_length, val_length), (flips, to_input, to_input)
        self.sets = {
            split: PlantedShapes(length, num_classes, image_size, split, shortcut, seed, transform=transform)
            for split, length, transform in zip(_SPLITS, lengths, transforms)
        }
        self.class_names = self.sets["train"].classes
