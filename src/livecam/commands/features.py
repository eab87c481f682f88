"""``explain.py features``: what layers of a trained network make of given photos."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from livecam.commands.photos import Photo, find_photos, inputs_of, photo_batches
from livecam.core.files import ArrayFile, write_png
from livecam.core.validation import check_count
from livecam.evaluation.loaded_network import Network, load_network
from livecam.explain.feature_maps import Features, check_choice, feature_maps
from livecam.report.drawing.feature_grid import feature_grid
from livecam.report.drawing.strips import samples_of
from livecam.report.html.maps_page import Entry, write_maps_page
from livecam.runtime.progress import listed, to_device


def features(
    paths: list[str],
    checkpoint: str | None = None,
    model: str | None = None,
    weights: str | None = None,
    layers: str | None = None,
    channels: str | None = None,
    strongest: int = 8,
    out: str = "features",
    batch_size: int = 8,
    num_classes: int = 1000,
    image_size: int = 224,
    resize: Literal["crop", "stretch"] = "crop",
    device: str | None = None,
) -> None:
    """Draw feature maps of photos: the channels of chosen layers, a row of tiles per layer.

    Writes ``<photo>.png`` per photo, ``index.html`` and ``features.npz`` with ``files``, ``predicted`` and
    ``probability`` (N photos) and, under each layer's name as the pictures print it, ``maps/<layer>`` ``(N, K, h, w)``,
    the shown channels as the network computed them, and ``channels/<layer>`` ``(N, K)``, their numbers.

    Args:
        paths: Photos, or folders of photos.
        checkpoint: Checkpoint of train.py.
        model: Network by name instead, such as torchvision/resnet50 or timm/convnext_tiny.
        weights: Weights of --model: pretrained, another published name, or a file.
        layers: Names separated by commas, such as layer2,layer4; by default one layer of every resolution.
        channels: Channel numbers separated by commas, such as 0,5,17; by default the strongest of each photo.
        strongest: How many channels that is.
        out: Folder to write to.
        batch_size: Photos per pass.
        num_classes: Outputs of --model.
        image_size: Input size of --model.
        resize: How photos are brought to that size for --model: crop (centre) or stretch (whole photo).
        device: Where to compute; the accelerator by default, where there is one.
    """
    chosen = None if layers is None else listed(layers), None if channels is None else _numbers(channels), strongest
    check_choice(*chosen)
    check_count("batch_size", batch_size)
    photos = find_photos(paths)
    network = load_network(checkpoint, model, weights, num_classes, image_size, resize)
    to_device(network.model, device)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[Entry] = []
    with ArrayFile(folder / "features.npz") as arrays:
        for read in photo_batches("looking", photos, [network], batch_size):
            found = feature_maps(network.model, inputs_of(read, network), *chosen, head=network.head)
            _append_arrays(arrays, read, found)
            entries += _write_pictures(folder, network, read, found)
    count = f"{len(entries)} photo{'s' * (len(entries) > 1)}"
    shown = ", ".join(layer.layer for layer in found.layers)
    title = f"Feature maps of {network.label}"
    write_maps_page(folder / "index.html", title, " · ".join([network.source, count, shown]), entries)
    skipped = f", {len(photos) - len(entries)} unreadable skipped" if len(entries) < len(photos) else ""
    print(f"Feature maps of {count}{skipped}: {folder / 'index.html'}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in listed(text)]
    except ValueError as error:
        raise ValueError(
            f"--channels takes channel numbers separated by commas, such as 0,5,17, got {text!r}."
        ) from error


def _append_arrays(arrays: ArrayFile, photos: Sequence[Photo], found: Features) -> None:
    # Fixed width: arrays on disk have one type for all rows, and Python objects would need pickle to load.
    arrays.append("files", np.array([str(photo.path) for photo in photos], dtype="U512"))
    arrays.append("predicted", found.predicted.cpu().numpy())
    arrays.append("probability", found.probability.cpu().numpy())
    for layer in found.layers:
        arrays.append(f"maps/{layer.layer}", layer.maps.cpu().numpy())
        arrays.append(f"channels/{layer.layer}", layer.channels.cpu().numpy())


def _write_pictures(folder: Path, network: Network, photos: Sequence[Photo], found: Features) -> list[Entry]:
    names = [photo.path.name for photo in photos]
    pixels = network.normalisation.to_pixels(torch.stack([photo.inputs[0] for photo in photos])).clamp(0, 1)
    entries = []
    for number, sample in enumerate(samples_of(pixels, {}, [], names, network.class_names, answer=found)):
        picture, file = feature_grid(sample, found.layers, number), f"{photos[number].stem}.png"
        write_png(folder / file, picture)
        source = str(photos[number].path)
        entries.append(Entry(file, picture.shape[1], picture.shape[0], sample.caption, source))
    return entries
