"""Half precision for forwards whose answers are averaged: the network is left as it is, its inputs say how it runs."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from livecam.core.heads import as_logits

Precision = Literal["full", "bf16"]
PRECISIONS = ("full", "bf16")


def running_in(precision: Precision, device: torch.device) -> AbstractContextManager:
    """A context in which networks run so: ``full`` as they are, ``bf16`` under autocast, float64 excepted."""
    return nullcontext() if precision == "full" else torch.autocast(device.type, torch.bfloat16)


def laid_out(images: Tensor, precision: Precision) -> Tensor:
    """Images as they suit a precision: ``bf16`` wants channels last, which convolutions pass on from their input."""
    return images if precision == "full" else images.contiguous(memory_format=torch.channels_last)


def logits_of(model: nn.Module, images: Tensor, precision: Precision = "full") -> Tensor:
    """Logits ``(M, K)`` of images ``(M, 3, H, W)`` in at least float32: half of it makes probabilities near 1 alike."""
    with running_in(precision, images.device):
        logits = as_logits(model(laid_out(images, precision)))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
