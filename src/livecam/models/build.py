"""Networks by name: the one function that configurations, the command line and reference masks go through."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from livecam.core.errors import NetworkNotFoundError, OptionError
from livecam.core.validation import check_known, options_of, suggest
from livecam.models.backbones import build_timm, build_torchvision
from livecam.models.smp_unet import SmpUNet
from livecam.models.unet import ClassicUNet
from livecam.models.weights import freeze_all_but, head_keys, load_state, local_file, read_state

# Arguments by which torchvision and timm read or fetch weights, which is to be said by ``weights`` alone.
_READING = {"weights", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
_FORMS = "unet, unet/<smp encoder>, torchvision/<name> or timm/<name>"


def build_model(
    name: str, num_classes: int, weights: str | Path | None = None, freeze_backbone: bool = False, **kw: Any
) -> nn.Module:
    """Build a classifier.

    Args:
        name: ``unet`` (:class:`ClassicUNet`), ``unet/<smp encoder>`` (:class:`SmpUNet`), ``torchvision/<name>`` or
            ``timm/<name>``.
        num_classes: Number of logits.
        weights: None for random ones; ``pretrained`` (for ``unet/...``, of the encoder) or another name of published
            weights, which are downloaded; or a local file (state dict or checkpoint, or safetensors). Weights must fit
            strictly, except that a classification head of another number of outputs starts anew.
        freeze_backbone: Train the classification head only.
        **kw: Further arguments of the network, such as ``skips="drop"`` for U-Nets.

    Returns:
        A network from images ``(N, 3, H, W)`` to logits ``(N, num_classes)``.

    Raises:
        ValueError: When a name or argument is unknown, or weights cannot be fetched, read or fitted.
        FileNotFoundError: When ``weights`` looks like a path, but there is no such file.
    """
    if num_classes < 1:
        raise OptionError(f"A classifier has at least one output, got num_classes={num_classes}.")
    file = local_file(weights)
    build = partial(_builder(name, kw), **kw)
    net = build(num_classes, published=None if file else weights)
    if file or freeze_backbone:
        head = head_keys(net, build, num_classes)
        if file:
            load_state(net, read_state(file), head, str(file), name)
        if freeze_backbone:
            freeze_all_but(net, head)
    return net


def _builder(name: str, kw: dict[str, Any]) -> Callable[..., nn.Module]:
    family, _, member = name.partition("/")
    if name == "unet":
        _check_arguments(name, ClassicUNet, kw)
        return _classic
    if family == "unet" and member:
        _check_arguments(name, SmpUNet, kw)
        return partial(_smp, member)
    if reading := sorted(_READING & kw.keys()):
        raise OptionError(f"{name} takes no argument {reading[0]!r} here: say by weights what weights it has.")
    if family == "torchvision" and member:
        return partial(build_torchvision, member)
    if family == "timm" and member:
        return partial(build_timm, member)
    raise NetworkNotFoundError(f"Unknown model {name!r}: use {_FORMS}.{_near_models(name)}")


def _classic(num_classes: int, published: str | None = None, **kw: Any) -> nn.Module:
    if published is not None:
        raise OptionError(f"unet has no published weights, and there is no file {published!r}: use unet/<encoder>.")
    return ClassicUNet(num_classes, **kw)


def _smp(encoder: str, num_classes: int, published: str | None = None, **kw: Any) -> nn.Module:
    return SmpUNet(encoder, num_classes, "imagenet" if published == "pretrained" else published, **kw)


def _check_arguments(name: str, network: type, kw: dict[str, Any]) -> None:
    arguments = [key for key in options_of(network) if key not in ("encoder", "num_classes", "weights")]
    check_known(name, kw, arguments)


def _near_models(name: str) -> str:
    """Near matches over all families, whatever family the name was meant for."""
    import timm
    from segmentation_models_pytorch.encoders import get_encoder_names
    from torchvision import models

    families = {"torchvision": models.list_models(module=models), "timm": timm.list_models()}
    families["unet"] = get_encoder_names()
    member = name.rpartition("/")[2]
    exact = [f"{family}/{member}" for family, members in families.items() if member in members]
    if exact:
        return f" Did you mean {' or '.join(exact)}?"
    return suggest(name, ["unet", *(f"{family}/{model}" for family, members in families.items() for model in members)])
