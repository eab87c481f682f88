"""How cost grows: with image size, channels, batch, methods and images explained."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import peers
import torch
from charts import line_chart
from contests import contest, family, found
from subjects import Subject, subject
from timing import Measured, in_turns

from livecam.explain import explain
from livecam.metrics.localization import LocalizationScore

Actions = dict[str, Callable[[], object]]


def _everybody(made: Subject) -> Actions:
    """Bare pass, livecam and torchcam at the whole family."""
    whole = contest("family", made)
    # pytorch_grad_cam would press the others onto the axis; the tables have it.
    others = {peer.library: peer.run for peer in whole.peers if peer.library != "grad-cam"}
    return {"bare": whole.bare, "livecam": whole.ours, **others}


def _curve(
    title: str,
    x_label: str,
    y_label: str,
    points: dict[int, Actions],
    repeats: int,
    y: Callable[[Measured, int], float],
) -> dict:
    """One line for each action that all points have; ``y`` of what was measured there."""
    lines: dict[str, list[float | None]] = {}
    for x, actions in points.items():
        measured, _ = in_turns(actions, repeats)
        for name in actions:
            lines.setdefault(name, []).append(round(y(measured[name], x), 3) if name in measured else None)
    return {"title": title, "x_label": x_label, "y_label": y_label, "x": list(points), "lines": lines}


def _ms(measured: Measured, _: int = 1) -> float:
    return measured.summary()["ms"]


def image_size(device: str, repeats: int) -> dict:
    """Milliseconds of the whole family over the height of the images."""
    points = {size: _everybody(subject("resnet18", 4, size, device=device)) for size in (64, 128, 192, 256)}
    return _curve("Activation family, ResNet18, 4 images", "pixels a side", "ms", points, repeats, _ms)


def channels(device: str, repeats: int) -> dict:
    """Milliseconds of the whole family over the width of a U-Net, which is the channels of its last layer."""
    points = {width: _everybody(subject("unet", 2, 96, device=device, width=width)) for width in (8, 16, 32, 64)}
    return _curve("Activation family, U-Net, 2 images of 96 px", "channels", "ms", points, repeats, _ms)


def batch(device: str, repeats: int) -> dict:
    """Milliseconds per image of the whole family over the batch."""
    points = {count: _everybody(subject("resnet18", count, 128, device=device)) for count in (1, 4, 8, 16, 32)}
    title = "Activation family, ResNet18, 128 px"
    return _curve(title, "images per batch", "ms per image", points, repeats, lambda each, count: _ms(each) / count)


def methods(device: str, repeats: int) -> dict:
    """Cost over one bare forward over the number of activation methods that are asked for together."""
    made = subject("resnet18", 8, 128, device=device)
    theirs = ["GradCAM", "XGradCAM", "LayerCAM", "GradCAMpp", "CAM"]
    points: dict[int, Actions] = {}
    for count in range(1, 7):
        points[count] = {
            "bare": contest("gradcam", made).bare,
            "livecam": partial(found, made, "fp32", family(made)[:count]),
        }
        if count <= len(theirs):
            points[count]["torchcam"] = partial(peers.torchcam_maps, made, theirs[:count])
    title = "Several methods at once, ResNet18, 8 images of 128 px"
    return _curve(title, "methods", "over a bare forward", points, repeats, lambda each, _: each.summary()["ratio"])


def _whole_sets(device: str) -> dict[int, Actions]:
    made = subject("resnet18", 16, 64, device=device)
    masks = torch.zeros(made.images[:, 0].shape, dtype=torch.bool, device=device)
    masks[:, 16:48, 16:48] = True

    def bare(images: int) -> None:
        with torch.inference_mode():
            for _ in range(images // 16):
                made.net(made.images)

    def scored(images: int) -> None:
        metrics = {each.name: LocalizationScore().to(device) for each in family(made)}
        for _ in range(images // 16):
            for name, each in explain(made.net, made.images, family(made), made.targets).items():
                metrics[name].update(each.energy, masks)

    counts = (64, 256, 512, 1024)
    return {count: {"bare": partial(bare, count), "livecam": partial(scored, count)} for count in counts}


def data_set(device: str, repeats: int) -> dict:
    """Milliseconds of explaining and scoring a whole set over its number of images."""
    title = "Activation family and its localization scores, ResNet18, 64 px"
    return _curve(title, "images", "ms", _whole_sets(device), repeats, _ms)


def memory(device: str, repeats: int) -> dict:
    """Peak memory of the same."""
    title = "Peak memory of the same"
    return _curve(title, "images", "MiB", _whole_sets(device), 1, lambda each, _: each.peak_mib or 0)


CURVES = {each.__name__: each for each in (image_size, channels, batch, methods, data_set, memory)}


def draw(curves: dict[str, dict], folder: Path, name: str) -> None:
    """One SVG file for each curve, called ``performance_<name>_<curve>.svg``."""
    for key, curve in curves.items():
        (folder / f"performance_{name}_{key}.svg").write_text(line_chart(**curve))
