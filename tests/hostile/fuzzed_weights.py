"""Mutated checkpoints and weights, and what loading them comes to."""

import io
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from helpers.checkpoints import save_unet
from mutations import mutated

from livecam.models.weights import load_state, read_state
from livecam.training.checkpoint import load_classifier


def read_all(folder: Path, count: int, seed: int) -> Counter[str]:
    """Load mutated checkpoints and weights: how many were ``read`` and how many ``refused``, by kind of file.

    Raises:
        AssertionError: When the outcome is neither a network nor one sentence that names the file.
    """
    whole = Path(save_unet(folder / "whole.ckpt"))
    content = torch.load(whole, weights_only=True)
    net = load_classifier(whole)

    def fill(path: Path) -> None:
        load_state(net, read_state(path), set(), str(path), "unet")

    kinds: list[tuple[str, bytes, Callable[[Path], Any]]] = [
        ("ckpt", whole.read_bytes(), load_classifier),
        ("ckpt", _saved(content, legacy=True), load_classifier),
        ("pt", _saved(content["state_dict"]), fill),
        ("pt", _saved(content["state_dict"], legacy=True), fill),
        ("safetensors", _safetensors(content["state_dict"]), fill),
    ]
    told: Counter[str] = Counter()
    for which, damaged in mutated([content for _, content, _ in kinds], count, seed):
        suffix, _, load = kinds[which]
        path = folder / f"damaged.{suffix}"
        path.write_bytes(damaged)
        try:
            # What torch and zipfile say of files that they read all the same.
            with warnings.catch_warnings(action="ignore"):
                load(path)
        except ValueError as error:
            sentence = str(error)
            assert str(path) in sentence and sentence.isprintable() and len(sentence) < 2000, sentence
            told[f"{suffix} refused"] += 1
        else:
            told[f"{suffix} read"] += 1
    return told


def _saved(content: Any, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def _safetensors(state: dict[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    return save(state)
