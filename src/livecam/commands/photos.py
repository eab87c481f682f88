"""Photos read once for all networks, each of which sees them in its own way."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from livecam.data.image_io import UnreadableImageError, read_image
from livecam.evaluation.loaded_network import Network

# Longer side in pixels at which photos are kept to be shown: a batch of them as cameras make them would fill memory.
_SHOWN = 768


@dataclass
class Photo:
    """A photo that could be read.

    Args:
        path: Where it lies.
        stem: Unique stem of the names of its files.
        picture: Its pixels for people, RGB, at most 768 on a side.
        inputs: Its pixels for each network, model input ``(3, S, S)``.
    """

    path: Path
    stem: str
    picture: Image.Image
    inputs: list[Tensor]


def read_photos(photos: Iterable[tuple[Path, str]], networks: Sequence[Network]) -> list[Photo]:
    """Read photos for networks; those that cannot be read are named on standard error.

    Args:
        photos: Path, and stem of the names of its files.
        networks: In the order of :attr:`Photo.inputs`.
    """
    read = []
    for path, stem in photos:
        try:
            picture = read_image(path)
        except UnreadableImageError as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        inputs = [network.prepare(picture) for network in networks]
        picture.thumbnail((_SHOWN, _SHOWN))
        read.append(Photo(path, stem, picture, inputs))
    return read


def inputs_of(photos: Sequence[Photo], network: Network, number: int = 0) -> Tensor:
    """Photos as a batch for a network, on its device: ``(N, 3, S, S)``.

    Args:
        photos: At least one.
        network: What reads them.
        number: Its place among the networks that they were read for.
    """
    return torch.stack([photo.inputs[number] for photo in photos]).to(next(network.model.parameters()).device)
