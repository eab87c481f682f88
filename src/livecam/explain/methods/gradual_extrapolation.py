"""Gradual Extrapolation: a coarse map is led back towards the image through the activations it came from."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from livecam.core.errors import OptionError
from livecam.core.maps import minmax, resize
from livecam.explain.explainer import Explainer
from livecam.explain.recording.hooks import IMAGES, Capture
from livecam.explain.recording.network_structure import Structure, structure_of
from livecam.explain.recording.recording import Recording, record
from livecam.explain.registry import Base

Layers = Literal["auto", "reference"] | tuple[str, ...]
_REDUCE = {"mean": "positive_mean", "l2": "positive_rms"}


def extrapolate(maps: Tensor, contributions: Sequence[Tensor]) -> Tensor:
    """M_t = up(M_{t-1}) (.) q_t with q_t = e_t / max e_t, per image (Szandala 2021, section III).

    Args:
        maps: Base maps M_0 ``(N, h, w)``, at least 0.
        contributions: e_t ``(N, h_t, w_t)`` from deep to shallow, of any positive scale; an image whose e_t is nowhere
            positive has an empty map from there on.

    Returns:
        Maps of the last contribution's size; ``maps`` itself where there is none.
    """
    for contribution in contributions:
        peak = contribution.flatten(1).amax(1)[:, None, None]
        share = torch.where(peak > 0, contribution / peak.masked_fill(peak <= 0, 1), 0)
        maps = resize(maps, tuple(contribution.shape[1:])) * share
    return maps


def reference_extrapolate(maps: Tensor, contributions: Sequence[Tensor]) -> Tensor:
    """What the author's published code does to one image: signed contributions, and a z-score cut at 1.

    The code scales by a maximum over the batch and standardizes over the batch; here both are per image, which is the
    same for a batch of one and does not let neighbors change a map.

    Args:
        maps: Base maps ``(N, h, w)``.
        contributions: Channel means ``(N, h_t, w_t)`` from deep to shallow, signed.

    Returns:
        Maps of the last contribution's size, in [0, 1].
    """
    for contribution in contributions:
        peak = contribution.flatten(1).abs().amax(1)[:, None, None]
        maps = resize(maps, tuple(contribution.shape[1:])) * (contribution / peak.masked_fill(peak == 0, 1))
    flat = maps.flatten(1)
    mean, std = flat.mean(1)[:, None, None], flat.std(1)[:, None, None]
    return minmax(((maps - mean) / std.masked_fill(std == 0, 1)).clamp(-1, 1))


@dataclass(frozen=True)
class GradualExtrapolation(Explainer):
    """Gradual Extrapolation (Szandala 2021) of any other method: M_t = up(M_{t-1}) (.) q_t, from deep to shallow.

    q_t is the mean over channels of an earlier layer's activations, divided by its maximum. The base map keeps its
    class and its sign of evidence (negative parts are cut first); what changes is its shape. Costs what
    the base costs: no further pass, and one channel kept per stage.

    Signed activations count by their positive part. A base map that is as fine as every earlier stage cannot be
    sharpened: it is returned as it is, and ``details`` say so. Its support may grow by about one coarse cell, as that
    of successive bilinear steps does.

    ``details``: those of the base, ``layers`` that were used from deep to shallow, ``identity``.

    Args:
        base: The method to sharpen, or its name; its raw map must be at its layer's resolution.
        layers: ``auto``: one activation per resolution, the input of the module that reduces it, where that lies before
            the base's layer and is finer than the base map. ``reference``: what the published code uses, that is the
            outputs of all max pools and strided convolutions and the input of the first of them, with its scaling.
            Otherwise names of layers, whose outputs are used from deep to shallow.
        q: ``mean`` over channels, or ``l2``, the root of the mean square.
        name: Key of the method; None makes it ``gradual_<base>``.

    Raises:
        OptionError: When the base or an option is unknown, or no layer is named.
    """

    prefix: ClassVar[str] = "gradual_"

    base: Base
    layers: Layers = "auto"
    q: Literal["mean", "l2"] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise OptionError("layers names no layer: use layers='auto' to have them found.")

    @property
    def default_name(self) -> str:
        """``gradual_`` and the base's."""
        return f"{self.prefix}{self.base.name}"

    @property
    def label(self) -> str:
        """As people read it."""
        return f"Gradual {self.base.label}"

    @property
    def clip_fraction(self) -> float:
        """That of the base."""
        return self.base.clip_fraction

    @property
    def single_pass(self) -> bool:
        """As the base."""
        return self.base.single_pass

    def captures(self, structure: Structure) -> list[Capture]:
        base = self.base.captures(structure)
        return [*base, *contributions_to(structure, base, self.layers, self.q)]

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        maps, details = self.base.result(recording)
        sources = contributions_to(recording.structure, self.base.captures(recording.structure), self.layers, self.q)
        sharp, used = sharpen(maps, sources, recording, self.layers)
        extra_details = {"layers": used, "identity": not used}
        if not used:
            extra_details["note"] = f"same as {self.base.label}"
            remedy = "Sharpen a method that reads a coarser layer."
            if hasattr(self.base, "layer"):
                remedy = "Give the base a coarser layer, such as a U-Net's layer='bottleneck'."
            warnings.warn(
                f"{self.label} is {self.base.label} itself here: no earlier layer can sharpen its map. {remedy}",
                stacklevel=2,
            )
        return sharp, details | extra_details


def contributions_to(structure: Structure, base: Sequence[Capture], layers: Layers, q: str) -> list[Capture]:
    """What is to be kept of earlier layers to sharpen a map that was read off ``base``, from deep to shallow."""
    if layers == "reference":
        outputs = [Capture(layer, reduce="channel_mean") for layer in structure.strided]
        first = [Capture(layer, at="input", reduce="channel_mean") for layer in structure.strided[:1]]
        return [*reversed(outputs), *first]
    reduce = _REDUCE[q]
    if layers != "auto":
        names = sorted(map(structure.resolve, layers), key=lambda name: -structure.finished.get(name, 0))
        return [Capture(name, reduce=reduce) for name in names]
    ends = [structure.finished.get(structure.resolve(c.layer), 0) for c in base if c != IMAGES]
    # "Before" means that the stage's tensor is there before the base's layer has finished.
    before = [stage for stage in structure.stages if ends and stage.started < max(ends)]
    return [Capture(stage.layer, at=stage.at, reduce=reduce) for stage in reversed(before)]


def sharpen(maps: Tensor, sources: Sequence[Capture], recording: Recording, layers: Layers) -> tuple[Tensor, list[str]]:
    """Sharpen maps ``(N, h, w)`` by what was recorded of ``sources``; also tells which of them were used."""
    means = {source: recording.activations[source][:, 0].to(maps) for source in sources}
    if layers == "auto":
        means = {source: mean for source, mean in means.items() if mean[0].numel() > maps[0].numel()}
    if not means:
        return maps.relu(), []
    run = reference_extrapolate if layers == "reference" else extrapolate
    return run(maps.relu(), list(means.values())), [f"{source.layer} {source.at}" for source in means]


def extrapolate_map(
    model: nn.Module, images: Tensor, maps: Tensor, layer: str, layers: Layers = "auto", q: str = "mean"
) -> Tensor:
    """Sharpen maps that were made elsewhere; costs one forward.

    Args:
        model: The classifier that the maps explain.
        images: Model input ``(N, 3, H, W)``.
        maps: Base maps ``(N, h, w)`` at the resolution of ``layer``; negative parts are cut.
        layer: Where the maps come from.
        layers: See :class:`GradualExtrapolation`.
        q: See :class:`GradualExtrapolation`.

    Returns:
        Maps ``(N, h', w')`` of the finest stage's size, neither resized nor scaled.

    Raises:
        OptionError: When there is not one map per image, or an option is unknown.
        KeyError: When a layer is unknown.
    """
    if maps.ndim != 3 or len(maps) != len(images):
        raise OptionError(f"Maps must be (N, h, w), one per image: {len(images)} images, shape {tuple(maps.shape)}.")
    structure = structure_of(model, images)
    sources = contributions_to(structure, [Capture(layer)], layers, q)
    return sharpen(maps, sources, record(model, images, captures=sources, structure=structure), layers)[0]
