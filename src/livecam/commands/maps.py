"""``explain.py maps``: where a trained network looks in given photos."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from livecam.commands.network import Network, load_network
from livecam.commands.photos import find_photos, stems
from livecam.data.images import UnreadableImageError
from livecam.explain import Explainer, Explanation, by_name, explain
from livecam.explain.explanation import check_names
from livecam.report.arrays import ArrayFile
from livecam.report.maps_page import Entry, write_maps_page
from livecam.report.render import to_uint8
from livecam.report.strips import Sample, samples_of


def maps(
    paths: list[str],
    checkpoint: str | None = None,
    model: str | None = None,
    weights: str | None = None,
    methods: str = "gradcam",
    target: str | None = None,
    out: str = "explanations",
    batch_size: int = 8,
    num_classes: int = 1000,
    image_size: int = 224,
    resize: Literal["crop", "stretch"] = "crop",
    device: str | None = None,
) -> None:
    """Draw explanations of photos: strips, overlays, arrays and a page.

    Writes ``<photo>.png`` (strip) and ``overlays/<photo>_<method>.png`` per photo, ``maps.npz`` (``files``, ``target``,
    ``probability`` and one array ``(N, H, W)`` in [0, 1] per method) and ``index.html``.

    Args:
        paths: Photos, or folders of photos.
        checkpoint: Checkpoint of train.py.
        model: Network by name instead, such as torchvision/resnet50 or timm/convnext_tiny.
        weights: Weights of that network: pretrained, another published name, or a local file.
        methods: Names separated by commas, such as gradcam,cam.
        target: Class to explain, by name or index; the predicted class by default.
        out: Folder to write to.
        batch_size: Photos per pass.
        num_classes: Outputs of --model.
        image_size: Input size of --model.
        resize: How photos are brought to that size for --model: crop (centre) or stretch (whole photo).
        device: Where to compute; the accelerator by default, where there is one.
    """
    explainers = [by_name(name.strip()) for name in methods.split(",") if name.strip()]
    if not explainers:
        raise ValueError("No method was named: --methods takes names separated by commas, such as gradcam,cam.")
    check_names(explainers)
    if batch_size < 1:
        raise ValueError(f"batch_size is the number of photos per pass, at least 1, got {batch_size}.")
    photos = find_photos(paths)
    network = load_network(checkpoint, model, weights, num_classes, image_size, resize)
    wanted = _class_index(target, network.class_names)
    _move(network.model, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    folder = Path(out)
    (folder / "overlays").mkdir(parents=True, exist_ok=True)
    entries: list[Entry] = []
    with ArrayFile(folder / "maps.npz") as arrays:
        for chunk in _progress(list(zip(photos, stems(photos))), batch_size):
            entries += _explain_chunk(chunk, network, explainers, wanted, folder, arrays)
        if not entries:
            raise ValueError(f"None of the {len(photos)} photos could be read.")
    title = f"Where {model or network.model.hparams.model} looks"
    subtitle = f"{checkpoint or weights} · {len(entries)} photo{'s' * (len(entries) > 1)} · " + ", ".join(
        explainer.label for explainer in explainers
    )
    write_maps_page(folder / "index.html", title, subtitle, entries)
    skipped = f", {len(photos) - len(entries)} unreadable skipped" if len(entries) < len(photos) else ""
    print(f"{len(entries)} photo{'s' * (len(entries) > 1)} explained{skipped}: {folder / 'index.html'}")


def _explain_chunk(
    chunk: Sequence[tuple[Path, str]],
    network: Network,
    explainers: Sequence[Explainer],
    target: int | None,
    folder: Path,
    arrays: ArrayFile,
) -> list[Entry]:
    read = []
    for photo, stem in chunk:
        try:
            read.append((photo, stem, network.read(str(photo))))
        except UnreadableImageError as error:
            print(f"skipped: {error}", file=sys.stderr)
    if not read:
        return []
    device = next(network.model.parameters()).device
    images = torch.stack([image for _, _, image in read]).to(device)
    found = explain(network.model, images, explainers, target, head=network.head, normalisation=network.normalisation)
    pixels = network.normalisation.to_pixels(images).clamp(0, 1)
    samples = samples_of(pixels, found, explainers, [photo.name for photo, _, _ in read], network.class_names)
    _append(arrays, [str(photo) for photo, _, _ in read], found)
    return [_draw(sample, stem, str(photo), explainers, folder) for sample, (photo, stem, _) in zip(samples, read)]


def _draw(sample: Sample, stem: str, source: str, explainers: Sequence[Explainer], folder: Path) -> Entry:
    for explainer, picture in zip(explainers, sample.overlays.values()):
        Image.fromarray(to_uint8(picture)).save(folder / "overlays" / f"{stem}_{explainer.name}.png")
    strip = sample.strip(with_truth=False, with_caption=True)
    Image.fromarray(strip).save(folder / f"{stem}.png")
    return Entry(f"{stem}.png", strip.shape[1], strip.shape[0], sample.caption, source)


def _append(arrays: ArrayFile, files: list[str], found: dict[str, Explanation]) -> None:
    first = next(iter(found.values()))
    # Fixed width: arrays on disk have one type for all rows, and Python objects would need pickle to load.
    arrays.append("files", np.array(files, dtype="U512"))
    arrays.append("target", first.target.cpu().numpy())
    arrays.append("probability", first.probability.cpu().numpy())
    for name, explanation in found.items():
        arrays.append(name, explanation.map.cpu().numpy())


def _move(model: torch.nn.Module, device: str) -> None:
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"There is no device {device!r} on this machine: try --device cpu.") from error


def _class_index(target: str | None, names: list[str] | None) -> int | None:
    if target is None or target.isdigit():
        return None if target is None else int(target)
    from livecam.messages import near

    if names and target in names:
        return names.index(target)
    raise ValueError(f"There is no class {target!r}.{near(target, names or [])} An index works too.")


def _progress(items: list, size: int) -> Iterator[list]:
    from rich.progress import Progress, TimeRemainingColumn

    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn()) as bar:
        task = bar.add_task("explaining", total=len(items))
        for start in range(0, len(items), size):
            yield items[start : start + size]
            bar.advance(task, len(items[start : start + size]))
