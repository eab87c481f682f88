"""Running a model inside somebody's training without leaving a trace."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from livecam.core.errors import DataError
from livecam.runtime.fsdp import unsharded_parameters

# The network that is being explained just now.
_ours: ContextVar[nn.Module | None] = ContextVar("ours", default=None)


@contextmanager
def isolate_rng(device: torch.device | None = None) -> Iterator[None]:
    """Give the global random states of Python, numpy, torch and ``device`` back as they were.

    Data sets draw from them, and so do networks whose dropout stays on in eval mode.

    Args:
        device: Whose generator is kept beside the CPU's; None or a CPU for no other.
    """
    states = random_states(device)
    try:
        yield
    finally:
        set_random_states(states, device)


def random_states(device: torch.device | None = None) -> dict[str, Any]:
    """Global random states of Python, numpy, torch and ``device``."""
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    if device is not None and device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state(*_number(device))
    return states


def set_random_states(states: dict[str, Any], device: torch.device | None = None) -> None:
    """Put :func:`random_states` back; a device of another kind than they were taken of keeps its own."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if device is not None and device.type in states and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[device.type], *_number(device))


def _number(device: torch.device) -> tuple[torch.device, ...]:
    # Apple's GPUs are one and take no number.
    return () if device.type == "mps" else (device,)


@contextmanager
def isolated_eval(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluate ``model`` whole, in eval mode and full precision, whatever surrounds the call; restore everything after.

    Leaves inference mode (gradients need it), switches autocast off (a gradient w/Z at full resolution underflows in
    half precision), forces compiled models to run eagerly (hooks do not fire inside compiled graphs), keeps the random
    states and starts without a graph; whoever needs gradients enters grad mode inside.

    Args:
        model: Any module.
        device: Device of the images.

    Raises:
        RuntimeError: When the parameters were created in inference mode and can take no part in autograd.
    """
    with ExitStack() as after:
        if _ours.get() is not model:
            _enter(after, model, device)
        after.enter_context(torch.inference_mode(False))
        after.enter_context(torch.no_grad())
        after.enter_context(torch.autocast(device.type, enabled=False))
        yield


def _enter(after: ExitStack, model: nn.Module, device: torch.device) -> None:
    """What takes a look at every module, and is done already where explanations are nested."""
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise RuntimeError(
            "The model's parameters were created inside torch.inference_mode(), so no gradient can pass through them: "
            "build the model outside of it."
        )
    token = _ours.set(model)
    after.callback(_ours.reset, token)
    training = [module for module in model.modules() if module.training]
    after.callback(_set_training, training, True)
    # Not .eval(): a LightningModule or a frozen backbone may override train().
    _set_training(training, False)
    after.enter_context(unsharded_parameters(model))
    after.enter_context(isolate_rng(device))
    if is_compiled(model):
        after.enter_context(torch.compiler.set_stance("force_eager"))


def _set_training(modules: list[nn.Module], mode: bool) -> None:
    for module in modules:
        module.training = mode


def is_explaining() -> bool:
    """Whether passes are run for explanations just now, :func:`isolated_eval`, and not by the training."""
    return _ours.get() is not None


def is_compiled(model: nn.Module) -> bool:
    """Whether any part of the network was given to ``torch.compile``."""
    # Lightning unwraps what torch.compile returns, and keeps what it found under a name of its own.
    return getattr(model, "_compiler_ctx", None) is not None or any(
        hasattr(module, "_orig_mod") or module._compiled_call_impl for module in model.modules()
    )


def check_images(images: Tensor) -> None:
    """Refuse what is no batch of images.

    Raises:
        DataError: With the shape.
    """
    if images.ndim != 4 or not len(images):
        raise DataError(f"Images must be a batch (N, 3, H, W) of at least one, got shape {tuple(images.shape)}.")


def leave_inference_mode(tensor: Tensor) -> Tensor:
    """A tensor that autograd accepts: a clone of one made in inference mode, any other as it is."""
    return tensor.clone() if tensor.is_inference() else tensor


def to_model_dtype(model: nn.Module, images: Tensor) -> Tensor:
    """Images in the type of the model's parameters, fit for autograd."""
    kinds = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    return leave_inference_mode(images.to(next(kinds, images.dtype)))
