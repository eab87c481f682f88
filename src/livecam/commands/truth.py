"""What is known of photos beforehand: their true class by their folder, and the part of the data they belong to."""

from collections.abc import Sequence
from pathlib import Path

from livecam.data.photo_datamodule import PhotoData
from livecam.evaluation.datasets import build_data, trained_on
from livecam.evaluation.loaded_network import Network


def true_classes(photos: Sequence[Path], network: Network) -> dict[Path, str]:
    """The true class of each photo whose folder bears the name of one of the network's classes.

    Raises:
        ValueError: When that is so for none of them.
    """
    names = network.class_names or []
    # Made absolute for a photo of the working directory; links are not followed, they may well be what gives classes.
    found = {photo: photo.absolute().parent.name for photo in photos}
    truth = {photo: name for photo, name in found.items() if name in names}
    if truth:
        return truth
    if not names:
        raise ValueError(f"{network.label} has no names of classes that folders could bear: leave out labels and pick.")
    known = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    raise ValueError(
        f"No photo lies in a folder that is called like a class, so none has a known true class: {network.label} knows "
        f"{known}."
    )


def photos_of(part: str, photos: Sequence[Path], checkpoint: str) -> tuple[list[Path], str]:
    """Those photos that a training kept in one part of its data, ``train``, ``val`` or ``test``.

    The division is made again from the configuration that training left in its run folder.

    Args:
        part: Which part.
        photos: What to choose from, in order.
        checkpoint: Path of a checkpoint in ``runs/<name>/checkpoints``.

    Returns:
        The photos, and one line for people that says how many they are.

    Raises:
        FileNotFoundError: When the run folder has no configuration, or the data are gone.
        ValueError: When the configuration names data that are not divided photos, or no photo belongs to the part.
    """
    data = _data_of(checkpoint)
    if part not in data.sets:
        raise ValueError(f"The training's data have no part {part}: use {', '.join(data.sets)}.")
    members = {(data.sets[part].root / photo.path).resolve() for photo in data.sets[part].photos}
    kept = [photo for photo in photos if photo.resolve() in members]
    if not kept:
        raise ValueError(
            f"None of the {len(photos)} photos is among the {len(members)} of part {part} in {data.sets[part].root}: "
            "give photos of that folder, or leave out part."
        )
    return kept, f"{len(kept)} of {len(photos)} photos are in part {part} of the training's data."


def _data_of(checkpoint: str) -> PhotoData:
    """The data module of a training; only classes of livecam are built, whatever the file says."""
    name, arguments = trained_on(checkpoint, "leave out part")
    kinds = {kind.__name__: kind for kind in PhotoData.__subclasses__()}
    if name not in kinds:
        raise ValueError(f"The data were {name}, which does not divide photos on disk: part is for {', '.join(kinds)}.")
    return build_data(kinds[name], arguments, "leave out part")
