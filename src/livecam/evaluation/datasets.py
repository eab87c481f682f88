"""The images that networks are scored on: a split of the data of a training, or other data, some of them or all."""

import hashlib
import inspect
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, default_collate

import livecam.data
from livecam.core.batch import Batch, read_batch
from livecam.core.errors import DataError, MissingFileError
from livecam.core.safe_yaml import load_yaml
from livecam.data.photo_datamodule import PhotoData
from livecam.evaluation.loaded_network import Network

_FACTS = ("num_classes", "image_size", "resize")
# Arguments of data that leave open which image the i-th one is.
_FREE = {*_FACTS, "mean", "std", "batch_size", "num_workers", "augmentation", "train_length", "max_unreadable"}


def data_for(network: Network, source: dict[str, Any] | None) -> LightningDataModule:
    """Build the data module, with the preprocessing that the network was trained with.

    Args:
        network: Its number of classes, image size, resizing and normalization replace what ``source`` says of them.
        source: ``class_path`` and ``init_args``; None takes the data that the network's checkpoint was trained on.

    Raises:
        DataError: When there are no data, or their classes are not the network's.
        MissingFileError: When the data, or the configuration of the training, are not there.
    """
    source = source or run_data(network.source)
    kind = pkgutil.resolve_name(source["class_path"])
    facts = {key: getattr(network, key) for key in _FACTS}
    facts |= {"mean": list(network.normalization.mean), "std": list(network.normalization.std)}
    accepted = {*inspect.signature(kind).parameters}
    if issubclass(kind, PhotoData):
        accepted |= {*inspect.signature(PhotoData).parameters}
    arguments = {key: value for key, value in facts.items() if key in accepted}
    data = build_data(kind, dict(source.get("init_args") or {}) | arguments, "name the data by --data")
    classes = getattr(data, "num_classes", network.num_classes)
    if classes != network.num_classes:
        raise DataError(
            f"{kind.__name__} has {classes} classes and {network.label} tells {network.num_classes} apart: their "
            "labels do not mean the same. Score a network that was trained on these classes."
        )
    _check_names(network, getattr(data, "class_names", None))
    return data


def _check_names(network: Network, names: Sequence[str] | None) -> None:
    """Refuse classes of as many other names; some may be spelt otherwise, or be numbers where nobody named them."""
    pairs = [
        (name, network_name)
        for name, network_name in zip(names or (), network.class_names or ())
        if not name.startswith("class ")
    ]
    # ImageNet's names come with synonyms: "tench, Tinca tinca".
    other = [
        (name, network_name)
        for name, network_name in pairs
        if name.split(",")[0].lower() != network_name.split(",")[0].lower()
    ]
    if len(other) > len(pairs) / 2:
        name, network_name = other[0]
        raise DataError(
            f"The data call a class {name!r} that {network.label} calls {network_name!r}: their labels do not mean the "
            "same. Score a network that was trained on these classes, in this order."
        )


def run_data(checkpoint: str) -> dict[str, Any]:
    """``class_path`` and ``init_args`` of the data that a training had; livecam's only.

    Raises:
        MissingFileError: When its run folder does not say so.
        DataError: When they are no data of livecam, or there is no checkpoint.
    """
    if Path(checkpoint).suffix != ".ckpt":
        raise DataError("A network by name was not trained here: name the data by --data CLASS and --data.root PATH.")
    name, arguments = trained_on(checkpoint, "name the data by --data CLASS and --data.root PATH")
    if name not in livecam.data.__all__:
        raise DataError(f"The training's data were {name}, which is not of livecam: name the data by --data.")
    return {"class_path": f"livecam.data.{name}", "init_args": arguments}


def trained_on(checkpoint: str, remedy: str) -> tuple[str, dict[str, Any]]:
    """Class and arguments of the data that the ``fit_config.yaml`` of a checkpoint's run folder names.

    Args:
        checkpoint: Path of a checkpoint in ``runs/<name>/checkpoints``.
        remedy: What to do where it does not, for the message.

    Raises:
        MissingFileError: When there is no such file.
        DataError: When it does not say what the data were.
    """
    config = Path(checkpoint).absolute().parent.parent / "fit_config.yaml"
    if not config.is_file():
        raise MissingFileError(
            f"There is no {config}, which tells what data the training had: use the checkpoint in its run folder, or "
            f"{remedy}."
        )
    try:
        content: Any = load_yaml(config.read_text("utf-8"))["data"]
        return content["class_path"].rpartition(".")[2], dict(content["init_args"])
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise DataError(f"{config} does not say what the training's data were: {remedy}.") from error


def build_data(kind: type[LightningDataModule], arguments: dict[str, Any], remedy: str) -> LightningDataModule:
    """Build a data module from plain arguments.

    Raises:
        DataError: When it does not take them.
    """
    try:
        return kind(**arguments)
    except TypeError as error:
        raise DataError(f"The arguments do not fit {kind.__name__} of this version ({error}): {remedy}.") from error


def check_same_data(networks: Sequence[Network]) -> None:
    """Refuse networks whose trainings had other images: the i-th image of one would not be that of the other.

    Raises:
        DataError: Says by what the data differ.
    """
    sources = [run_data(network.source) for network in networks]
    settings = [
        {"class_path": data["class_path"]} | {key: v for key, v in data["init_args"].items() if key not in _FREE}
        for data in sources
    ]
    for network, other in zip(networks[1:], settings[1:]):
        if other != settings[0]:
            differ = ", ".join(sorted(key for key in {*other, *settings[0]} if other.get(key) != settings[0].get(key)))
            raise DataError(
                f"{networks[0].label} and {network.label} were trained on other data ({differ}), so that their images "
                "cannot be paired: name the data of both by --data."
            )


class Numbered(Dataset):
    """Some samples of a data set, each with its index.

    Args:
        dataset: Any data set with a length; a sample that is None could not be read.
        indices: Which samples, in order; below 0 there is none.
        collate: Makes a batch of samples.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int], collate: Any) -> None:
        self.dataset, self.indices, self._collate = dataset, list(indices), collate

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[int, Any]:
        index = self.indices[place]
        return index, self.dataset[index] if index >= 0 else None

    def collate(self, pairs: list[tuple[int, Any]]) -> dict[str, Any]:
        """``index`` (N,) and ``content``, a batch of those samples that could be read; None where none could.

        ``count`` is how many there were.
        """
        read = [pair for pair in pairs if pair[1] is not None]
        content = self._collate([sample for _, sample in read]) if read else None
        index = torch.tensor([index for index, _ in read], dtype=torch.long)
        return {"index": index, "content": content, "count": len(pairs)}


def split_loader(data: LightningDataModule, split: str) -> DataLoader:
    """The loader of a split, ``val`` or ``test``.

    Raises:
        DataError: When its samples cannot be counted.
    """
    data.prepare_data()
    data.setup("validate" if split == "val" else "test")
    loaders = getattr(data, f"{split}_dataloader")()
    loader = loaders[0] if isinstance(loaders, list | tuple) else loaders
    if not isinstance(loader, DataLoader) or not hasattr(loader.dataset, "__len__"):
        raise DataError(f"{type(data).__name__} has no {split} set of known length, which scoring needs.")
    return loader


def choose(count: int, limit: int | None, skip: int = 0) -> list[int]:
    """Indices of ``limit`` samples drawn at random, sorted; the same each time, and more of them hold fewer.

    Args:
        count: How many samples there are.
        limit: How many are drawn; None takes all.
        skip: How many of the first drawn are left out: ``limit=10, skip=30`` shares none with ``limit=30``.
    """
    if not skip and (limit is None or limit >= count):
        return list(range(count))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return sorted(order[skip:][:limit].tolist())


def read_samples(dataset: Dataset, indices: Sequence[int]) -> tuple[list[int], Batch | None]:
    """Those of some samples that can be read, and their batch; None where none can."""
    read = {index: sample for index in indices if (sample := dataset[index]) is not None}
    collate = getattr(dataset, "collate", default_collate)
    return list(read), read_batch(collate(list(read.values()))) if read else None


def images_of(dataset: Dataset) -> str:
    """A text that changes with the photos of a data set, their labels and boxes, or at least with their number."""
    photos = getattr(dataset, "photos", None)
    if photos is None:
        return f"{len(dataset)} images"
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(ascii(photo).encode())
    return f"{len(photos)} photos {digest.hexdigest()[:16]}"
