"""Asking a network what it makes of images, wherever a metric is updated."""

import torch
from torch import Tensor, nn

from livecam.guard import as_input, undisturbed
from livecam.heads import as_logits, get_head


def probabilities(model: nn.Module, images: Tensor, head: str = "auto", targets: Tensor | None = None) -> Tensor:
    """Probability of every class, ``(M, classes)`` in at least float32; one forward, in eval mode, without a graph.

    Args:
        model: Classifier; left as it was found.
        images: Model input ``(M, 3, H, W)``.
        head: Name of its head, see :func:`livecam.heads.get_head`.
        targets: Classes that the caller is about to read.

    Raises:
        ValueError: When a target is out of range.
    """
    with undisturbed(model, images.device):
        logits = as_logits(model(as_input(model, images)))
        # In half precision, probabilities near 1 would be all alike.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        known = get_head(head, logits.shape[1])
        if targets is not None:
            known.check_targets(targets, logits)
        return known.probabilities(logits)


def class_probability(model: nn.Module, images: Tensor, targets: Tensor, head: str = "auto") -> Tensor:
    """Probability ``(M,)`` of one class for each image; see :func:`probabilities`.

    Args:
        model: Classifier.
        images: Model input ``(M, 3, H, W)``.
        targets: LongTensor ``(M,)``.
        head: Name of its head.
    """
    return probabilities(model, images, head, targets).gather(1, targets[:, None])[:, 0]
