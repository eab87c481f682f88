"""What one operation does with the probability of winning that arrives at its outputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from livecam.core.errors import UnsupportedNetworkError

LinearRule = Callable[[Tensor, Tensor | None], Tensor]
"""A linear operation of activations and, where it has any, weights; without its bias."""


class WinningLinear(torch.autograd.Function):
    """``compute()`` is what the network computes, bias included; ``linear`` is what probability passes through."""

    @staticmethod
    def forward(
        ctx: Any,
        activations: Tensor,
        weight: Tensor | None,
        compute: Callable[[], Tensor],
        linear: LinearRule,
        mode: Any,
        name: str,
    ) -> Tensor:
        ctx.save_for_backward(activations, weight)
        ctx.linear, ctx.mode, ctx.is_image = linear, mode, activations is mode.image
        # Between two convolutions without an activation in between, as behind a U-Net's upsampling, the positive part
        # is what excites; anywhere else signs mean that the network is of another kind.
        ctx.may_be_negative = mode.clamp_negative or (weight is not None and is_bare(activations))
        ctx.name, ctx.weighted, ctx.is_last = name, weight is not None, False
        return compute()

    @staticmethod
    def backward(ctx: Any, probability: Tensor) -> tuple[Tensor | None, ...]:
        activations, weight = ctx.saved_tensors
        if ctx.is_image:
            activations = activations - activations.amin((1, 2, 3), keepdim=True)
        elif not ctx.may_be_negative and bool((activations < 0).any()):
            raise UnsupportedNetworkError(
                f"Excitation Backprop needs activations of at least 0, but {ctx.name} reads negative ones: this "
                "network has signed activations. clamp_negative=True reads them as 0."
            )
        rule = ctx.mode.started if ctx.is_last else ctx.mode.propagate
        propagated = rule(ctx.linear, weight, activations.clamp(min=0), probability)
        return propagated, None, None, None, None, None


def mark_last(score: Tensor) -> None:
    """Tell the one layer with weights that the score is read off that it is the last.

    Raises:
        UnsupportedNetworkError: When there are several, whose rivals would have to be told apart.
    """
    waiting, visited, last = [score.grad_fn], set(), []
    while waiting:
        node = waiting.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        if getattr(node, "weighted", False):
            last.append(node)
        else:
            waiting += [below for below, _ in node.next_functions]
    if len(last) > 1:
        raise UnsupportedNetworkError(
            f"Excitation Backprop starts at one last layer, but {len(last)} add up to this network's score: "
            f"{', '.join(sorted(node.name for node in last)[:4])}. Use another method, or explain one of its parts."
        )
    for node in last:
        node.is_last = True


class _Unchanged(torch.autograd.Function):
    """Probability passes as it is."""

    @staticmethod
    def forward(ctx: Any, activations: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        return compute(activations.detach().clone())

    @staticmethod
    def backward(ctx: Any, probability: Tensor) -> tuple[Tensor | None, ...]:
        return probability, None


class WinningSum(torch.autograd.Function):
    """Probability is split by what the two branches bring to their sum."""

    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor, mode: Any) -> Tensor:
        brought = (one, other) if mode.residual == "signed" else (one.clamp(min=0), other.clamp(min=0))
        total = brought[0] + brought[1]
        nothing = total == 0
        total = total.masked_fill(nothing, 1)
        # On request nothing gets lost where neither branch is positive.
        share = 0.5 if mode.clamp_negative else 0.0
        ctx.save_for_backward(*((part / total).masked_fill(nothing, share) for part in brought))
        return one + other

    @staticmethod
    def backward(ctx: Any, probability: Tensor) -> tuple[Tensor | None, ...]:
        one, other = ctx.saved_tensors
        return probability * one, probability * other, None


def contrast(winning: Tensor, rival: Tensor, normalize: bool) -> tuple[Tensor, Tensor]:
    """P - P' per sample, each divided by its sum if asked; and which samples have no P' (it counts as 0), ``(N,)``."""
    empty = rival.flatten(1).sum(1) == 0
    if normalize:
        winning, rival = (_share(part) for part in (winning, rival))
    return winning - rival, empty


def _share(part: Tensor) -> Tensor:
    total = part.flatten(1).sum(1).view(-1, *[1] * (part.ndim - 1))
    return part / total.masked_fill(total == 0, 1)


def propagate_linear(
    linear: LinearRule, weight: Tensor | None, activations: Tensor, probability: Tensor
) -> tuple[Tensor, Tensor]:
    """A (W+' (P / z)) with z = W+ a, and the part of P whose z is zero."""
    with torch.enable_grad():
        leaf = activations.detach().requires_grad_(True)
        z = linear(leaf, weight)
    # The smallest normal number, as P / z must not overflow.
    wins = z > torch.finfo(z.dtype).tiny
    share = torch.where(wins, probability / z.masked_fill(~wins, 1), 0)
    return activations * torch.autograd.grad(z, leaf, share)[0], torch.where(wins, 0, probability)


def unchanged(activations: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """What ``compute`` makes of a copy of ``activations``; probability passes as it is."""
    copies: list[tuple[Tensor, Tensor]] = []

    def run(copy: Tensor) -> Tensor:
        copies.append((copy, compute(copy)))
        return copies[0][1]

    result = _Unchanged.apply(activations, run)
    # An operation that returned its own argument works in place, so the network expects to find it changed.
    return activations.copy_(result) if copies[0][0] is copies[0][1] else result


def is_bare(value: Any) -> bool:
    """Whether a tensor is what a convolution made, or holds some of that, and no activation has changed it since."""
    return isinstance(value, Tensor) and getattr(value, "made_at", None) == value._version
