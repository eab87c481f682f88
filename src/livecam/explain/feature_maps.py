"""Feature maps: the channels of chosen layers as they are, all layers from one forward without gradients."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from livecam.core.errors import OptionError, UnsupportedNetworkError
from livecam.core.validation import check_count
from livecam.explain.recording.hooks import Capture
from livecam.explain.recording.network_structure import Structure, structure_of
from livecam.explain.recording.recording import record


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """Channels of one layer, picked for each of N images.

    Args:
        layer: The layer's full name, or ``input of`` it.
        size: Channels, height and width of the layer's whole tensor.
        channels: Which channels were picked, ``(N, K)``.
        maps: Their activations ``(N, K, h, w)``, neither rectified nor scaled.
        signed: Whether any channel of the layer is negative anywhere.
    """

    layer: str
    size: tuple[int, int, int]
    channels: Tensor
    maps: Tensor
    signed: bool


@dataclass(frozen=True, eq=False)
class Features:
    """What N images looked like on their way through the network, and what it answered.

    Args:
        predicted: Most probable class ``(N,)``.
        probability: Probability of that class ``(N,)`` in [0, 1].
        layers: In the order in which they were asked for.
    """

    predicted: Tensor
    probability: Tensor
    layers: list[LayerMaps]

    @property
    def target(self) -> Tensor:
        """The class that ``probability`` is of, ``(N,)``: the predicted one."""
        return self.predicted


def feature_maps(
    model: nn.Module,
    images: Tensor,
    layers: Sequence[str] | None = None,
    channels: Sequence[int] | None = None,
    strongest: int = 8,
    *,
    head: str = "auto",
) -> Features:
    """Look at channels of layers; costs one forward, whatever the number of layers, and leaves the model as it was.

    Args:
        model: Classifier whose forward takes images and returns logits.
        images: Model input ``(N, 3, H, W)``.
        layers: Full names or unique suffixes; None takes the last tensor of each resolution stage and the default
            target layer, where class activation maps look.
        channels: Which channels of every layer; None picks the strongest ones of each image.
        strongest: How many channels that is; all of a layer that has fewer.
        head: ``softmax``, ``binary``, ``multilabel`` or ``auto``.

    Raises:
        KeyError: When a layer name fits no layer or several.
        ValueError: When a layer has no such channel or no feature maps, or there is none to take by default.
    """
    check_choice(layers, channels, strongest)
    structure = structure_of(model, images)
    captures = feature_captures(structure, layers)
    recording = record(model, images, captures=captures, head=head, structure=structure)
    return Features(
        recording.targets,
        recording.head.probability(recording.logits, recording.targets).float(),
        [_pick(capture, recording.activations[capture], channels, strongest) for capture in captures],
    )


def check_choice(layers: Sequence[str] | None, channels: Sequence[int] | None, strongest: int) -> None:
    """Refuse a choice of layers and channels that fits no network at all.

    Raises:
        ValueError: With the remedy.
    """
    check_count("strongest", strongest)
    if layers is not None and (isinstance(layers, str) or not len(layers)):
        raise OptionError(f"No layer is named in layers={layers!r}: name at least one in a list, or leave layers out.")
    sound = channels is None or (isinstance(channels, Sequence) and all(isinstance(index, int) for index in channels))
    if not sound or (channels is not None and (not channels or min(channels) < 0 or len({*channels}) < len(channels))):
        raise OptionError(
            f"channels={channels!r}: name at least one, counted from 0, each once, or leave channels out to see "
            "the strongest ones of each image."
        )


def feature_captures(structure: Structure, layers: Sequence[str] | None = None) -> list[Capture]:
    """What to keep of one forward: the named layers' outputs, each once, or a choice that shows every resolution.

    Args:
        structure: The network's structure.
        layers: Names; None takes the resolution stages and the default target layer.

    Raises:
        KeyError: When a name fits no layer or several.
        ValueError: When the network has no feature map to take by default.
    """
    if layers is not None:
        return list(dict.fromkeys(_output(structure, structure.resolve(name)) for name in layers))
    target = structure.target_layer
    # A stage that begins behind the target layer is the pooling of the target layer itself.
    end = float("inf") if target is None else structure.finished[target]
    captures = [Capture(stage.layer, at=stage.at) for stage in structure.stages if stage.started < end]
    captures += [] if target is None else [_output(structure, target)]
    if not captures:
        raise UnsupportedNetworkError("This network has no convolutional feature maps to take by default: name layers.")
    return list(dict.fromkeys(captures))


def strongest_channels(activations: Tensor, count: int) -> Tensor:
    """Channels of the largest mean positive part, per image; of equal ones the first.

    Args:
        activations: ``(N, C, h, w)``.
        count: How many; all C when there are fewer.

    Returns:
        LongTensor ``(N, min(count, C))``, the strongest first.
    """
    strength = activations.clamp(min=0).mean((2, 3))
    return strength.argsort(dim=1, descending=True, stable=True)[:, :count]


def _output(structure: Structure, layer: str) -> Capture:
    return Capture(layer, post_relu=structure.post_relu and layer == structure.target_layer)


def _pick(capture: Capture, activations: Tensor, channels: Sequence[int] | None, strongest: int) -> LayerMaps:
    name = capture.layer if capture.at == "output" else f"input of {capture.layer}"
    count = activations.shape[1]
    if channels is None:
        picked = strongest_channels(activations, strongest)
    elif max(channels) >= count:
        raise OptionError(f"Layer {name!r} has {count} channels, 0 to {count - 1}: it has no channel {max(channels)}.")
    else:
        picked = torch.tensor(channels, device=activations.device).expand(len(activations), -1)
    return LayerMaps(
        layer=name,
        size=tuple(activations.shape[1:]),
        channels=picked,
        maps=activations[torch.arange(len(activations), device=activations.device)[:, None], picked],
        signed=bool((activations < 0).any()),
    )
