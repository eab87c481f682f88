"""Weights out of local files and hubs: never runs code that a file carries, and says what does not fit."""

import logging
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from livecam.core.errors import DataError, MissingFileError
from livecam.core.text import printable

_log = logging.getLogger(__name__)
_WRAPPERS = ("state_dict", "model")
_PREFIXES = ("module.", "net.", "model.", "_orig_mod.")
# Training-only classifiers of Inception and GoogLeNet: published files have them, networks only on request.
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
# torchvision's published DenseNets date from when module names could hold dots.
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")
_SHOWN = 3


def local_file(weights: str | Path | None) -> Path | None:
    """The file that ``weights`` means; None when it is a name of published weights.

    Raises:
        MissingFileError: When it looks like a path, but there is no such file.
    """
    if weights is None:
        return None
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if isinstance(weights, Path) or path.suffix or len(path.parts) > 1:
        raise MissingFileError(f"No weights file at {path}.")
    return None


@contextmanager
def reaching_hub(what: str) -> Iterator[None]:
    """Turn whatever goes wrong while weights are downloaded into one sentence.

    Raises:
        DataError: When the body fails.
    """
    try:
        yield
    # Each hub library has exceptions of its own, and they share no base class.
    except Exception as error:
        cause = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(
            f"The published weights of {what} could not be fetched ({cause}): "
            "download them elsewhere and pass the local file as weights."
        ) from error


def read_plain(path: str | Path) -> Any:
    """What a file of ``torch.save`` holds, on the CPU: tensors and plain values, never code.

    Raises:
        Exception: Of the many types that pickle, zipfile and torch trip over; ValueError for a file that unpacks to
            more than it holds, which torch writes none of and which could fill any memory.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > os.path.getsize(path):
                raise DataError("it unpacks to more than it holds")
    return torch.load(path, map_location="cpu", weights_only=True)


def is_state(content: Any) -> bool:
    """Whether something is a state dict: tensors of numbers that are there, by name."""
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
        and all(value.layout == torch.strided and value.device.type == "cpu" for value in content.values())
        and not any(value.is_complex() or value.is_quantized for value in content.values())
    )


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a PyTorch or safetensors file, onto the CPU.

    Args:
        path: A state dict, bare or under ``state_dict`` or ``model`` as checkpoints have it.

    Raises:
        DataError: When the file is corrupt, carries code, or holds no state dict.
    """
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = read_plain(path)
    # Damaged files raise whatever pickle, zipfile, torch or safetensors happen to trip over.
    except Exception as error:
        raise DataError(
            f"Weights file {path} cannot be read: it is damaged, or holds code, which is never run. "
            "Save weights with torch.save(net.state_dict(), FILE)."
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not is_state(content):
        raise DataError(f"Weights file {path} holds no state dict: save one with torch.save(net.state_dict(), FILE).")
    return content


def load_state(net: nn.Module, state: dict[str, Tensor], head: set[str], source: str, model: str) -> None:
    """Load weights strictly, except for a classification head of another number of outputs, which stays as it is.

    Args:
        net: The network to fill.
        state: Its weights, possibly under a common prefix such as ``module.``; changed in place.
        head: State-dict keys of the classification head.
        source: File or hub that the weights come from, for messages.
        model: Name of the network, for messages.

    Raises:
        DataError: When keys are missing, unexpected or of another shape.
    """
    net_state = net.state_dict()
    _rename(state, net_state)
    common = {key: (state[key].shape, value.shape) for key, value in net_state.items() if key in state}
    differing = {key: (stored, needed) for key, (stored, needed) in common.items() if stored != needed}
    fresh = [key for key, (stored, needed) in differing.items() if key in head and stored[1:] == needed[1:]]
    for key in differing:
        state[key] = net_state[key]
    result = net.load_state_dict(state, strict=False)
    problems = [
        _listed("missing", result.missing_keys),
        _listed("unexpected", result.unexpected_keys),
        _listed(
            "of another shape",
            [
                f"{key} {tuple(stored)}, not {tuple(needed)}"
                for key, (stored, needed) in differing.items()
                if key not in fresh
            ],
        ),
    ]
    if any(problems):
        raise DataError(
            f"The weights in {source} do not fit {model}; they seem to be of another architecture: "
            f"{'; '.join(problem for problem in problems if problem)}."
        )
    if fresh:
        stored, needed = differing[fresh[0]]
        _log.info(f"Weights in {source} have {stored[0]} outputs, {model} has {needed[0]}: its head starts anew.")


def _rename(state: dict[str, Tensor], net_state: Mapping[str, Tensor]) -> None:
    """Bring the keys of ``state`` to the network's spelling, in place."""
    stripping = True
    while stripping:
        stripping = False
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) for key in state) and not all(key.startswith(prefix) for key in net_state):
                consume_prefix_in_state_dict_if_present(state, prefix)
                stripping = True
    for key in list(state):
        if key.startswith(_AUXILIARY) and key not in net_state:
            del state[key]
        elif _OLD_DENSENET.match(key):
            state[_OLD_DENSENET.sub(r"\1\2", key)] = state.pop(key)


def _listed(what: str, keys: list[str]) -> str:
    """``12 missing (a, b, c, …)``, or nothing."""
    if not keys:
        return ""
    return f"{len(keys)} {what} ({', '.join(map(printable, keys[:_SHOWN]))}{', …' if len(keys) > _SHOWN else ''})"


def head_keys(net: nn.Module, build: Callable[[int], nn.Module], num_classes: int) -> set[str]:
    """State-dict keys of the classification head: those whose shape changes with the number of classes.

    Args:
        net: The network with ``num_classes`` outputs.
        build: Builds the same network with another number of outputs.
        num_classes: Number of outputs of ``net``.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                other = build(num_classes + 1)
        except (NotImplementedError, RuntimeError):
            # Some constructors (torchvision's RegNets, smp's MiT) read values, which meta tensors do not have.
            other = build(num_classes + 1)
    shapes = {key: value.shape for key, value in other.state_dict().items()}
    return {key for key, value in net.state_dict().items() if value.shape != shapes[key]}


def freeze_all_but(net: nn.Module, trained: set[str]) -> None:
    """Set ``requires_grad`` to False on every parameter that is not named in ``trained``."""
    for name, parameter in net.named_parameters():
        if name not in trained:
            parameter.requires_grad_(False)


def frozen_modules(net: nn.Module) -> list[nn.Module]:
    """Outermost modules that have parameters, all of them frozen; their batch norms should stay in eval mode."""
    parameters = list(net.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        return [net]
    return [module for child in net.children() for module in frozen_modules(child)]
