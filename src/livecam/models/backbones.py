"""Classifiers of torchvision and timm, random or with published weights, under one way of complaining."""

from collections.abc import Callable
from typing import Any

from torch import nn

from livecam.core.errors import NetworkNotFoundError, OptionError
from livecam.core.validation import suggest
from livecam.models.weights import head_keys, load_state, reaching_hub


def build_torchvision(name: str, num_classes: int, published: str | None = None, **kw: Any) -> nn.Module:
    """Build a torchvision classifier.

    Inception and GoogLeNet come without auxiliary classifiers (which need large images, and whose parameters would go
    untrained) and always turn ImageNet normalization into their own, as their published weights expect; ``kw`` says
    otherwise.

    Args:
        name: Name in torchvision, such as ``resnet50``.
        num_classes: Number of logits.
        published: None (random), ``pretrained``, or a name of its weights such as ``IMAGENET1K_V1`` or ``DEFAULT``.
        **kw: Further arguments of torchvision's builder.

    Raises:
        ValueError: When a name or argument is unknown, or weights cannot be fetched.
    """
    from torchvision import models

    architectures = models.list_models(module=models)
    if name not in architectures:
        raise NetworkNotFoundError(f"torchvision has no classifier {name!r}.{suggest(name, architectures)}")
    if name in ("inception_v3", "googlenet"):
        kw = {"aux_logits": False, "transform_input": True, "init_weights": False} | kw

    def build(outputs: int) -> nn.Module:
        return models.get_model(name, weights=None, num_classes=outputs, **kw)

    net = _checked(f"torchvision/{name}", build, num_classes, kw)
    if published is not None:
        weights = models.get_model_weights(name)
        choice = "DEFAULT" if published == "pretrained" else published
        if choice not in weights.__members__:
            names = ", ".join(weights.__members__) or "none"
            raise OptionError(
                f"torchvision/{name} has no published weights {published!r}, and there is no such file; "
                f"it has: {names}."
            )
        with reaching_hub(f"torchvision/{name}"):
            state = weights[choice].get_state_dict(progress=False, check_hash=True)
        heads = head_keys(net, build, num_classes)
        load_state(net, state, heads, f"torchvision's {choice}", f"torchvision/{name}")
    return net


def build_timm(name: str, num_classes: int, published: str | None = None, **kw: Any) -> nn.Module:
    """Build a timm classifier.

    Args:
        name: Name in timm, with or without a tag of its weights: ``resnet50`` or ``resnet50.a1_in1k``.
        num_classes: Number of logits.
        published: None (random) or ``pretrained``.
        **kw: Further arguments of ``timm.create_model``.

    Raises:
        ValueError: When a name or argument is unknown, or weights cannot be fetched.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(name):
        raise NetworkNotFoundError(f"timm has no model {name!r}.{suggest(architecture, timm.list_models())}")
    tagged = timm.list_pretrained(f"{architecture}.*") if tag or published else []
    if tag and name not in tagged:
        raise OptionError(f"timm's {architecture} has no weights tagged {tag!r}.{suggest(name, tagged)}")
    if published not in (None, "pretrained"):
        raise OptionError(
            f"timm/{name} takes weights=pretrained or a local file, and there is no file {published!r}; "
            f"a tag goes into the model's name{': ' + ', '.join(tagged[:3]) if tagged else ''}."
        )
    if published and not timm.models.is_model_pretrained(name):
        raise OptionError(f"timm has no published weights for {name!r}: use weights=None or a local file.")
    net = _checked(f"timm/{name}", lambda outputs: timm.create_model(name, num_classes=outputs, **kw), num_classes, kw)
    if published:
        with reaching_hub(f"timm/{name}"):
            net = timm.create_model(name, pretrained=True, num_classes=num_classes, **kw)
    return net


def _checked(model: str, build: Callable[[int], nn.Module], num_classes: int, kw: dict[str, Any]) -> nn.Module:
    try:
        return build(num_classes)
    except TypeError as error:
        arguments = ", ".join(f"{key}={value!r}" for key, value in kw.items())
        raise OptionError(f"{model} cannot be built with {arguments}: {error}.") from error
