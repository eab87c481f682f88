"""Maps of a few of the scored images, kept on disk so that drawing them costs no further pass."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from livecam.core.files import write_atomically
from livecam.explain import Explanation
from livecam.report.drawing.strips import note_of

_FACTS = ("target", "predicted", "probability", "degenerate")


@dataclass
class KeptMaps:
    """What a picture needs of one method's maps of N images; fields as in :class:`livecam.explain.Explanation`."""

    map: Tensor
    energy: Tensor
    raw: Tensor
    target: Tensor
    predicted: Tensor
    probability: Tensor
    degenerate: Tensor
    details: dict[str, Any]


def keep_maps(folder: Path, index: int, explanations: Mapping[str, Explanation], place: int) -> None:
    """Write the maps of one image, by all methods.

    Args:
        folder: Of a network's scores; maps go to ``maps/``.
        index: Of the image.
        explanations: Explanations of its batch, by method.
        place: The image's place in the batch.
    """
    contents = {}
    for name, explanation in explanations.items():
        tensors = {key: getattr(explanation, key)[place].cpu() for key in _FACTS}
        # Half precision is more than eyes and shares of energy can tell apart; raw maps may be of any scale.
        tensors |= {"map": explanation.map[place].half().cpu(), "raw": explanation.raw[place].float().cpu()}
        peak = explanation.energy[place].amax().clamp_min(torch.finfo(torch.float32).tiny)
        tensors |= {"energy": (explanation.energy[place] / peak).half().cpu()}
        contents[name] = tensors | {"note": note_of(explanation.details, place)}
    (folder / "maps").mkdir(exist_ok=True)
    content = io.BytesIO()
    torch.save(contents, content)
    write_atomically(folder / "maps" / f"{index}.pt", content.getvalue())


def kept_maps(folder: Path, index: int) -> dict[str, KeptMaps]:
    """The maps of one image by method, each for a batch of one; empty where none were kept."""
    path = folder / "maps" / f"{index}.pt"
    if not path.exists():
        return {}
    explanations = {}
    for name, tensors in torch.load(path, weights_only=True).items():
        note = tensors.pop("note")
        batch = {key: value[None] for key, value in tensors.items()}
        batch |= {key: batch[key].float() for key in ("map", "energy", "raw")}
        explanations[name] = KeptMaps(**batch, details={"note": note} if note else {})
    return explanations
