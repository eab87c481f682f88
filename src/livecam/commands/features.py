"""``explain.py features``: what layers of a trained network make of given photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from livecam.commands.photos import Photo, PhotoOptions, find_photos, inputs_of, photo_batches
from livecam.core.errors import OptionError
from livecam.core.files import ArrayFile
from livecam.core.validation import check_count
from livecam.evaluation.loaded_network import Network, NetworkOptions, load_network
from livecam.explain.feature_maps import Features as Found
from livecam.explain.feature_maps import check_choice, feature_maps
from livecam.report.drawing.feature_grid import feature_grid
from livecam.report.drawing.strips import samples_of
from livecam.report.html.maps_page import Entry, Picture, write_maps_page
from livecam.runtime.progress import listed, to_device


@dataclass(kw_only=True)
class Features(PhotoOptions, NetworkOptions):
    """Draw feature maps of photos: the channels of chosen layers, a row of tiles per layer.

    Writes ``<photo>.png`` per photo, ``index.html`` and ``features.npz`` with ``files``, ``predicted`` and
    ``probability`` (N photos) and, under each layer's name as the pictures print it, ``maps/<layer>`` ``(N, K, h, w)``,
    the shown channels as the network computed them, and ``channels/<layer>`` ``(N, K)``, their numbers.

    Args:
        layers: Names separated by commas, such as layer2,layer4; by default one layer of every resolution.
        channels: Channel numbers separated by commas, such as 0,5,17; by default the strongest of each photo.
        strongest: How many channels that is.
    """

    layers: str | None = None
    channels: str | None = None
    strongest: int = 8
    out: str = "features"

    def run(self) -> None:
        """Write pictures, arrays and page to ``out``."""
        layers = None if self.layers is None else listed(self.layers)
        chosen = layers, None if self.channels is None else _numbers(self.channels), self.strongest
        check_choice(*chosen)
        check_count("batch_size", self.batch_size)
        photos = find_photos(self.paths)
        network = load_network(self)
        to_device(network.model, self.device)
        folder = Path(self.out)
        folder.mkdir(parents=True, exist_ok=True)
        entries: list[Entry] = []
        with ArrayFile(folder / "features.npz") as arrays:
            for read in photo_batches("looking", photos, [network], self.batch_size):
                features = feature_maps(network.model, inputs_of(read, network), *chosen, head=network.head)
                _append_arrays(arrays, read, features)
                entries += _write_pictures(folder, network, read, features)
        count = f"{len(entries)} photo{'s' * (len(entries) > 1)}"
        layer_names = ", ".join(layer.layer for layer in features.layers)
        title = f"Feature maps of {network.label}"
        write_maps_page(folder / "index.html", title, " · ".join([network.source, count, layer_names]), entries)
        skipped = f", {len(photos) - len(entries)} unreadable skipped" if len(entries) < len(photos) else ""
        print(f"Feature maps of {count}{skipped}: {folder / 'index.html'}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in listed(text)]
    except ValueError as error:
        raise OptionError(f"--channels takes numbers separated by commas, such as 0,5,17, got {text!r}.") from error


def _append_arrays(arrays: ArrayFile, photos: Sequence[Photo], features: Found) -> None:
    # Fixed width: arrays on disk have one type for all rows, and Python objects would need pickle to load.
    arrays.append("files", np.array([str(photo.path) for photo in photos], dtype="U512"))
    arrays.append("predicted", features.predicted.cpu().numpy())
    arrays.append("probability", features.probability.cpu().numpy())
    for layer in features.layers:
        arrays.append(f"maps/{layer.layer}", layer.maps.cpu().numpy())
        arrays.append(f"channels/{layer.layer}", layer.channels.cpu().numpy())


def _write_pictures(folder: Path, network: Network, photos: Sequence[Photo], features: Found) -> list[Entry]:
    names = [photo.path.name for photo in photos]
    pixels = network.normalization.to_pixels(torch.stack([photo.inputs[0] for photo in photos])).clamp(0, 1)
    entries = []
    for number, sample in enumerate(samples_of(pixels, {}, [], names, network.class_names, prediction=features)):
        grid, photo = feature_grid(sample, features.layers, number), photos[number]
        entries.append(Entry(Picture.write(folder, f"{photo.stem}.png", grid, sample.caption), str(photo.path)))
    return entries
