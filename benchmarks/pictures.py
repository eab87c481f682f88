"""What a gallery's pictures cost a training: drawn in one go or panel by panel, and encoded as PNG or JPEG.

uv run benchmarks/pictures.py [--samples 8] [--repeats 5]

Strips of photos that scikit-image ships: input, ground truth and five methods of an untrained ResNet-18, at 224 px.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable

import numpy as np
import PIL
import torch
import torch.nn.functional as F
import torchvision
from conditions import conditions, seconds
from PIL import Image
from skimage import data

from livecam.core.files import encode_jpeg
from livecam.core.normalization import IMAGENET
from livecam.explain import Explanation, by_names, explain
from livecam.report.drawing.panels import Panel, outline, overlay, strip
from livecam.report.drawing.strips import Sample, draw_strips, samples_of, shown
from livecam.report.html.logger import HTMLLogger

PHOTOS = (data.astronaut, data.chelsea, data.coffee, data.rocket)
METHODS = by_names(["cam", "gradcam", "gradcam_pp", "layercam", "gradual_gradcam"])


def photos(count: int) -> torch.Tensor:
    """RGB ``(count, 3, 224, 224)`` in [0, 1]."""
    whole = [torch.from_numpy(photo()).permute(2, 0, 1)[None] / 255 for photo in PHOTOS]
    small = [F.interpolate(photo, (224, 224), mode="bilinear", antialias=True) for photo in whole]
    return torch.cat([small[number % len(small)] for number in range(count)]).clamp(0, 1)


def described(pixels: torch.Tensor, found: dict[str, Explanation]) -> list[Sample]:
    """The samples of a gallery; their ground truth is a square."""
    count = len(pixels)
    masks = torch.zeros(count, 224, 224, dtype=torch.bool, device=pixels.device)
    masks[:, 60:160, 60:160] = True
    names, has_mask = [f"#{number}" for number in range(count)], masks.flatten(1).any(1)
    inside = {name: masks.float().mean((1, 2)) for name in found}
    return samples_of(pixels, found, METHODS, names, None, None, masks, has_mask, inside)


def panel_by_panel(samples: list[Sample], found: dict[str, Explanation]) -> list[np.ndarray]:
    """Strips of which each panel is rendered by itself."""
    drawn = []
    for number, sample in enumerate(samples):
        pixels = sample.pixels
        panels = [Panel("input", pixels), Panel("ground truth", outline(pixels, sample.mask))]
        for (name, note), method in zip(sample.notes.items(), METHODS):
            own = overlay(pixels[None], shown(found[method.name], method)[number, None], method.signed)[0]
            panels.append(Panel(name, own, note))
        drawn.append(strip([Panel(p.title, p.pixels.float().cpu(), p.note) for p in panels], "", sample.correct))
    return drawn


def as_png(picture: Image.Image, level: int) -> bytes:
    """A PNG; W&B's own are of level 6."""
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=level)
    return content.getvalue()


def as_plain_jpeg(picture: Image.Image) -> bytes:
    """A JPEG as W&B makes them: quality 75, one value of color for four pixels."""
    content = io.BytesIO()
    picture.save(content, "JPEG")
    return content.getvalue()


def handed_over(logger: HTMLLogger, strips: list[np.ndarray]) -> tuple[float, float]:
    """Seconds that the page keeps its caller, and from then on until everything is on the disk."""
    logger.flush()
    start = time.perf_counter()
    logger.log_image("gallery", strips, 0)
    middle = time.perf_counter()
    logger.flush()
    return middle - start, time.perf_counter() - middle


def main() -> None:
    """Print a line per way of drawing and of encoding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pixels = photos(args.samples).to(device)
    model = torchvision.models.resnet18().to(device).eval()
    found = explain(model, IMAGENET.to_input(pixels), METHODS, normalization=IMAGENET)
    print(conditions(torchvision, PIL))

    def spent(action: Callable[[], object]) -> float:
        return 1000 * seconds(action, args.repeats)

    samples = described(pixels, found)
    strips = draw_strips(samples, True)
    assert all(map(np.array_equal, strips, panel_by_panel(samples, found)))
    print(f"{args.samples} strips of {len(METHODS) + 2} pictures, {strips[0].shape[1]} x {strips[0].shape[0]} px")
    print(f"described and drawn in one go   {spent(lambda: draw_strips(described(pixels, found), True)):7.1f} ms")
    print(f"panel by panel                  {spent(lambda: panel_by_panel(samples, found)):7.1f} ms")

    pictures = [Image.fromarray(each) for each in strips]
    ways = {
        "PNG, as W&B makes them": lambda picture: as_png(picture, 6),
        "PNG, level 1": lambda picture: as_png(picture, 1),
        "JPEG, quality 75, 4:2:0": as_plain_jpeg,
        "JPEG, quality 92, 4:4:4": encode_jpeg,
    }
    for name, encode in ways.items():
        size = sum(len(encode(picture)) for picture in pictures) / len(pictures) / 1000
        each = spent(lambda encode=encode: [encode(picture) for picture in pictures]) / len(pictures)
        print(f"{name:<30}  {each:7.1f} ms and {size:.0f} kB per strip")

    with tempfile.TemporaryDirectory() as folder:
        logger = HTMLLogger(folder, "run")
        waits, done = min(handed_over(logger, strips) for _ in range(args.repeats))
    print(
        f"local page, all strips: the caller waits {1000 * waits:.1f} ms, they are written {1000 * done:.1f} ms later"
    )


if __name__ == "__main__":
    main()
