"""Which parameters belong to the classification head, and freezing all others."""

from collections.abc import Callable

import torch
from torch import nn


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
