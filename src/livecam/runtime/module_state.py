"""Letting another library work on a model, with hooks and global seeds of its own, without leaving a trace."""

import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


@contextmanager
def temporary_hooks(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Take hooks away again when the block ends, also where placing the next one fails.

    Args:
        handles: What registering each of them returns; may be a generator that registers them.
    """
    with ExitStack() as after:
        for handle in handles:
            after.callback(handle.remove)
        yield


@contextmanager
def restore_module_state(model: nn.Module) -> Iterator[None]:
    """Activations work out of place inside; hooks, attributes, flags, weights and gradients are put back after."""
    modules = [(vars(module), dict(vars(module))) for module in model.modules()]
    # The dicts of hooks, parameters and so on get their content back and stay the same objects: handles refer to them.
    inner = [(v, v.copy()) for _, saved in modules for v in saved.values() if type(v) in (dict, OrderedDict)]
    weights = [(weight, weight.data, weight.requires_grad, weight.grad) for weight in model.parameters()]
    try:
        for live, _ in modules:
            if live.get("inplace") is True:
                live["inplace"] = False
        yield
    finally:
        for live, saved in [*modules, *inner]:
            live.clear()
            live.update(saved)
        for weight, data, requires_grad, gradient in weights:
            if weight.data_ptr() != data.data_ptr():
                weight.data = data
            if weight.requires_grad != requires_grad:
                weight.requires_grad_(requires_grad)
            if weight.grad is not gradient:
                weight.grad = gradient


def seed_all(seed: int, device: torch.device) -> None:
    """Seed what Captum draws from, and of several GPUs only the one in use."""
    import numpy

    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
    numpy.random.seed(seed % 2**32)
    random.seed(seed)
