"""Asking a network what it makes of images, in full or in half precision: the network is left as it is."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from livecam.core.heads import as_logits, get_head
from livecam.runtime.model_state import isolated_eval, to_model_dtype

Precision = Literal["full", "bf16"]


def autocast_for(precision: Precision, device: torch.device) -> AbstractContextManager:
    """A context in which networks run so: ``full`` as they are, ``bf16`` under autocast, float64 excepted."""
    return nullcontext() if precision == "full" else torch.autocast(device.type, torch.bfloat16)


def to_channels_last(images: Tensor, precision: Precision) -> Tensor:
    """Images as they suit a precision: ``bf16`` wants channels last, which convolutions pass on from their input."""
    return images if precision == "full" else images.contiguous(memory_format=torch.channels_last)


def predict_logits(model: nn.Module, images: Tensor, precision: Precision = "full") -> Tensor:
    """Logits ``(M, K)`` of images ``(M, 3, H, W)`` in at least float32: half of it makes probabilities near 1 alike."""
    with autocast_for(precision, images.device):
        logits = as_logits(model(to_channels_last(images, precision)))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def predict_proba(model: nn.Module, images: Tensor, head: str = "auto", targets: Tensor | None = None) -> Tensor:
    """Probability of every class, ``(M, classes)`` in at least float32; one forward, in eval mode, without a graph.

    Args:
        model: Classifier; left as it was found.
        images: Model input ``(M, 3, H, W)``.
        head: Name of its head, see :func:`livecam.core.heads.get_head`.
        targets: Classes that the caller is about to read.

    Raises:
        ValueError: When a target is out of range.
    """
    with isolated_eval(model, images.device):
        return forward_proba(model, images, head, targets)


def forward_proba(
    model: nn.Module, images: Tensor, head: str = "auto", targets: Tensor | None = None, precision: Precision = "full"
) -> Tensor:
    """As :func:`predict_proba`, for a caller that asks again and again and keeps the network undisturbed by itself.

    Args:
        model: Classifier.
        images: Model input ``(M, 3, H, W)``.
        head: Name of its head.
        targets: Classes to check, any number; None where they have been: that waits for the device.
        precision: What the network runs in.

    Raises:
        ValueError: When a target is out of range.
    """
    logits = predict_logits(model, to_model_dtype(model, images), precision)
    output_head = get_head(head, logits.shape[1])
    if targets is not None:
        output_head.check_targets(targets, logits)
    return output_head.probabilities(logits)


def class_probability(model: nn.Module, images: Tensor, targets: Tensor, head: str = "auto") -> Tensor:
    """Probability ``(M,)`` of one class for each image; see :func:`predict_proba`.

    Args:
        model: Classifier.
        images: Model input ``(M, 3, H, W)``.
        targets: LongTensor ``(M,)``.
        head: Name of its head.
    """
    return predict_proba(model, images, head, targets).gather(1, targets[:, None])[:, 0]
