"""A gallery makes the host wait for the device a fixed number of times, and looks as if drawn panel by panel."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch.overrides import TorchFunctionMode

from livecam.explain.feature_maps import LayerMaps
from livecam.report.drawing.feature_grid import feature_grid, feature_grids
from livecam.report.drawing.panels import BAD, FRAME, GOOD, outline, overlay, to_host
from livecam.report.drawing.strips import draw_strips, samples_of, shown
from livecam.report.drawing.text_layout import FAINT, INK, fit, font, width_of


class OnDevice(torch.Tensor):
    """A tensor of a pretended device: whatever is computed from it lies there too."""

    is_cpu = False

    def cpu(self):
        return super().cpu().as_subclass(torch.Tensor)


LEAVING = {"cpu", "tolist", "item", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__"}
COMING = {"tensor", "as_tensor", "new_tensor"}


class Waits(TorchFunctionMode):
    """Counts what makes the host wait: values that leave the device, and constants that are brought to it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, there = getattr(func, "__name__", ""), bool(args) and isinstance(args[0], OnDevice)
        key = args[1] if name == "__getitem__" else None
        by_values = isinstance(key, torch.Tensor | list)
        if (there and (name in LEAVING or by_values)) or name in COMING:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def on_device(tensor):
    return None if tensor is None else tensor.as_subclass(OnDevice)


class Method:
    def __init__(self, name, signed=False, clip_fraction=0.0):
        self.name, self.label, self.signed, self.clip_fraction = name, name.capitalize(), signed, clip_fraction


class Explained:
    def __init__(self, count, size, draw):
        self.map, self.raw = torch.rand(count, *size, generator=draw), torch.randn(count, 4, 4, generator=draw)
        self.map[0, 0, 0] = torch.nan
        self.target, self.predicted = torch.arange(count) % 3, torch.arange(count) % 2
        self.probability = torch.rand(count, generator=draw)
        self.degenerate = torch.arange(count) % 3 == 1
        self.details = {"note": [f"note {n}" for n in range(count)]}


METHODS = [Method("plain"), Method("signed", True, 0.01), Method("with a long title", clip_fraction=0.05)]


def batch(count=4, methods=3, size=(24, 30), several=False, place=lambda tensor: tensor):
    draw = torch.Generator().manual_seed(0)
    found = {method.name: Explained(count, size, draw) for method in METHODS[:methods]}
    labels = torch.rand(count, 3, generator=draw) > 0.5 if several else torch.arange(count) % 3
    given = {
        "pixels": torch.rand(count, 3, *size, generator=draw),
        "labels": labels,
        "masks": torch.rand(count, *size, generator=draw) > 0.5,
        "has_mask": torch.arange(count) % 2 == 0,
    }
    inside = {name: place(torch.rand(count, generator=draw)) for name in found}
    for explained in found.values():
        for name, value in vars(explained).items():
            if isinstance(value, torch.Tensor):
                setattr(explained, name, place(value))
    given = {name: place(value) for name, value in given.items()}
    names = [f"#{n}" for n in range(count)]
    return given | {"explanations": found, "methods": METHODS[:methods], "names": names, "inside": inside}


def layers(count, place=lambda tensor: tensor):
    draw = torch.Generator().manual_seed(0)
    for number, kind in enumerate([torch.float32, torch.bfloat16][:count]):
        maps = torch.randn(8, 3 + number, 9, 9, generator=draw).to(kind)
        channels = torch.randint(64, maps.shape[:2], generator=draw)
        yield LayerMaps(f"layer{number}", (64, 9, 9), place(channels), place(maps), bool(number))


@pytest.mark.parametrize("several", [False, True])
def test_the_device_is_waited_for_twice_per_gallery(several):
    # Constants are brought to a device once.
    draw_strips(samples_of(**batch()), True)
    for count, methods in [(1, 1), (2, 3), (8, 3)]:
        given = batch(count, methods, several=several, place=on_device)
        with Waits() as waits:
            draw_strips(samples_of(**given), True)
        assert waits.seen == ["cpu", "cpu"], "numbers, and pixels"


def test_the_device_is_waited_for_twice_per_gallery_of_feature_maps():
    samples = samples_of(**batch(8))
    feature_grids(samples, list(layers(2)))
    for count, kinds in [(1, 1), (8, 2)]:
        given = samples_of(**batch(count, place=on_device))
        features = list(layers(kinds, on_device))
        with Waits() as waits:
            feature_grids(given, features)
        assert waits.seen == ["cpu", "cpu"], "maps, and inputs"


def test_the_pretended_device_notices():
    """Each way that the host would wait is counted."""
    tensor = on_device(torch.ones(3))
    asks = [float, int, bool, torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.nonzero]
    with Waits() as waits:
        for ask in asks:
            ask(tensor.mean())
        tensor[tensor > 0], tensor.new_tensor([1.0]), torch.tensor([1.0])
    assert len(waits.seen) == len(asks) + 3


@pytest.mark.parametrize("place", [lambda tensor: tensor, on_device])
def test_a_transfer_changes_nothing(place):
    kinds = [torch.bool, torch.float64, torch.uint8, torch.bfloat16, torch.int64, torch.float32, torch.complex128]
    shapes = [(3,), (2, 5), (), (0, 4), (1, 3, 5)]
    given = [(torch.rand(shape) * 9).to(kind) for kind in kinds for shape in shapes]
    # Views, as rows and columns of something else are.
    given += [torch.arange(12).view(3, 4)[:, 1], torch.rand(4, 6).T]
    found = to_host([place(each) if number % 4 else each for number, each in enumerate(given)])
    for before, after in zip(given, found, strict=True):
        assert type(after) is torch.Tensor and before.dtype == after.dtype and torch.equal(before, after)
    assert to_host([]) == []


def one_by_one(panels, caption, correct, height=168):
    """A strip as one draws it without haste: each panel enlarged and rounded by itself."""
    pictures = []
    for _, pixels, _ in panels:
        factor = max(1, round(height / pixels.shape[1]))
        large = F.interpolate(pixels[None], scale_factor=factor, mode="nearest")[0]
        pictures.append((large.nan_to_num(0).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
    tall, wide = pictures[0].shape[:2]
    cell = max(wide, *(width_of(title, 15) + 8 for title, _, _ in panels))
    foot, below = (20 if any(note for _, _, note in panels) else 4), (26 if caption else 0)
    canvas = Image.new("RGB", (6 + (cell + 6) * len(panels), 24 + tall + foot + below + 6), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    for column, ((title, _, note), picture) in enumerate(zip(panels, pictures)):
        left = 6 + column * (cell + 6)
        draw.text((left + cell // 2, 13), title, INK, font(15), anchor="mm")
        x = left + (cell - wide) // 2
        canvas.paste(Image.fromarray(picture), (x, 24))
        if column == 0 and correct is not None:
            box = (x, 24, x + wide - 1, 24 + tall - 1)
            draw.rectangle(box, outline=GOOD if correct else BAD, width=FRAME)
        draw.text((left + cell // 2, 24 + tall + 11), fit(note, cell, 13), FAINT, font(13), anchor="mm")
    if caption:
        place, text = (8, 24 + tall + foot + 13), fit(caption, canvas.width - 12, 15)
        draw.text(place, text, BAD if correct is False else INK, font(15), anchor="lm")
    return np.asarray(canvas)


@pytest.mark.parametrize("with_caption", [False, True])
@pytest.mark.parametrize("size", [(24, 30), (7, 3), (90, 41), (224, 224)])
def test_strips_are_bit_identical_to_panels_drawn_one_by_one(size, with_caption):
    given = batch(4, size=size)
    samples = samples_of(**given)
    pixels, masks = given["pixels"], given["masks"]
    for n, (sample, drawn) in enumerate(zip(samples, draw_strips(samples, True, with_caption), strict=True)):
        blank = torch.full_like(pixels[n], 0.94)
        truth = (outline(pixels[n], masks[n]), "") if sample.mask is not None else (blank, "not annotated")
        panels = [("input", pixels[n], ""), ("ground truth", *truth)]
        for method in METHODS:
            map_of_one = shown(given["explanations"][method.name], method)[n : n + 1]
            picture = overlay(pixels[n : n + 1], map_of_one, method.signed)[0]
            panels.append((method.label, picture, sample.notes[method.label]))
        expected = one_by_one(panels, sample.caption if with_caption else "", sample.correct)
        assert np.array_equal(drawn, expected)
        assert np.array_equal(drawn, sample.strip(True, with_caption))


def test_grids_of_a_batch_are_those_of_its_images():
    samples, drawn = samples_of(**batch(4, size=(224, 180))), list(layers(2))
    for number, grid in enumerate(feature_grids(samples, drawn)):
        assert np.array_equal(grid, feature_grid(samples[number], drawn, number))
