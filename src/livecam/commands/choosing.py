"""Photos that a network takes for certain classes, evenly from several folders."""

import random
import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from livecam.commands.photo_paths import find_photos
from livecam.commands.photos import inputs_of, read_photos
from livecam.evaluation.loaded_network import Network
from livecam.metrics.asking import probabilities
from livecam.runtime.common import listed, progress


def classes_of(only: str, network: Network) -> set[int]:
    """Indices of classes that are written as names, indices and ranges."""
    found: set[int] = set()
    for part in listed(only):
        ends = re.fullmatch(r"(\d+)-(\d+)", part)
        first, last = map(network.class_index, ends.groups() if ends else (part, part))
        found |= set(range(first, last + 1))
    return found


def choose_predicted(
    paths: Sequence[str], network: Network, wanted: set[int], limit: int | None, batch_size: int
) -> tuple[list[Path], str]:
    """Photos that are predicted as wanted classes, in their order, and a line for people; one forward of each photo."""
    answers: dict[Path, int] = {}
    for chunk in progress("choosing", [(photo, photo.stem) for photo in find_photos(paths)], batch_size):
        if read := read_photos(chunk, [network]):
            predicted = probabilities(network.model, inputs_of(read, network), network.head).argmax(1).tolist()
            answers |= zip([photo.path for photo in read], predicted)
    fitting = [photo for photo, answer in answers.items() if answer in wanted]
    if not fitting:
        raise ValueError(f"None of {len(answers)} photos is predicted as one of the classes of --only.")
    # Drawn, because the first ones of a folder are often all of one kind; in turns, so that no path outweighs others.
    sources = [[photo for photo in find_photos([path]) if answers.get(photo) in wanted] for path in paths]
    turns = zip_longest(*(random.Random(0).sample(source, len(source)) for source in sources))
    kept = set(list(dict.fromkeys(photo for turn in turns for photo in turn if photo))[:limit])
    told = f"chosen among {len(fitting)}, {len(answers) - len(fitting)} predicted otherwise left out"
    return [photo for photo in fitting if photo in kept], told
