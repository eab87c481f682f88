"""Marginal winning probability: every operation hands its probability of winning down to its inputs.

Autograd does the routing. While :class:`ExcitationMode` is entered, each operation that has a rule is replaced by
one that computes the same and whose *backward* is that rule, so that ``torch.autograd.grad`` carries probabilities
instead of gradients, through whatever shape a network has (Zhang et al. 2016). The rules:

- linear, y = W a with a >= 0: P(a_j) = a_j sum_i W+_ij P(y_i) / z_i with z = W+ a; so also pools and resizing, whose
  weights are their own. Batch norm behind it is folded into W.
- sums: P is split by what the branches bring. Activations, other norms, gates and constants: P passes unchanged.
- whatever only moves or picks values (reshaping, concatenation, max pooling): their ordinary backward.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from livecam.core.errors import UnsupportedNetworkError
from livecam.explain.methods.excitation_backprop import rules
from livecam.explain.methods.excitation_backprop.rules import LinearRule

Residual = Literal["relu", "signed"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WEIGHTED = _words("conv1d conv2d conv3d conv_transpose2d linear")
_AVERAGES = _words("avg_pool2d adaptive_avg_pool2d mean sum interpolate upsample")
_RESIZINGS = _words("nearest nearest-exact bilinear area")
_UNCHANGED = _words(
    """relu relu_ relu6 hardtanh hardtanh_ silu gelu hardswish leaky_relu elu celu selu mish softplus prelu hardsigmoid
    sigmoid sigmoid_ tanh batch_norm group_norm layer_norm instance_norm local_response_norm clamp clamp_"""
)
# Products and differences with what carries no probability; sums have a rule of their own.
_WITH_CONSTANTS = _words("mul mul_ div div_ sub sub_ true_divide")
_SUMS = _words("add add_")
# fn is what torch calls max pooling.
_ROUTES = _words(
    """fn max_pool2d max_pool2d_with_indices adaptive_max_pool2d amax cat concat concatenate stack flatten reshape view
    view_as permute transpose swapaxes squeeze unsqueeze contiguous clone to float double type_as expand expand_as
    chunk split unbind narrow select __getitem__ pad dropout dropout2d feature_dropout alpha_dropout pixel_shuffle
    pixel_unshuffle channel_shuffle roll flip unflatten movedim requires_grad_ __get__"""
)


class ExcitationMode(TorchFunctionMode):
    """While it is entered, what a network computes carries winning probabilities backwards. Nothing of it is touched.

    Args:
        residual: How sums split: by the positive parts of the branches (``relu``), or by their values (``signed``, as
            Caffe and TorchRay do).
        clamp_negative: Read activations below zero as zero instead of refusing them; where nothing positive is left,
            all inputs count alike.
        layer_of: Names of layers by the ``id`` of their weight, for messages.
        image: The images, when probability is to reach them: they alone are shifted to be at least zero.

    Raises:
        UnsupportedNetworkError: Inside, when activations are negative, or an operation has no rule.
    """

    def __init__(
        self, residual: Residual, clamp_negative: bool, layer_of: dict[int, str], image: Tensor | None = None
    ) -> None:
        super().__init__()
        self.residual = residual
        self.clamp_negative = clamp_negative
        self.layer_of = layer_of
        self.image = image
        self.top = "plain"
        """How the last layer with weights passes on: ``plain``, ``negated`` or the ``contrast`` of both."""
        self.normalize = True
        self.without_rival: Tensor | None = None

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", str(func))
        tensors = [value for value in _flat([*args, *kwargs.values()]) if isinstance(value, Tensor)]
        if not any(value.requires_grad and not isinstance(value, nn.Parameter) for value in tensors):
            # Below the layer that is asked for, no graph may begin at a weight.
            if any(isinstance(value, nn.Parameter) for value in tensors):
                with torch.no_grad():
                    return func(*args, **kwargs)
            return func(*args, **kwargs)
        if name in _WEIGHTED:
            return self._weighted(func, *_leading(("input", "weight", "bias"), args, kwargs))
        if name in _AVERAGES:
            if name in ("interpolate", "upsample"):
                _check_resizing(args, kwargs)
            inputs, extra_args, extra_kwargs = _leading(("input",), args, kwargs)

            def average(a: Tensor, _: Tensor | None) -> Tensor:
                return func(a, *extra_args, **extra_kwargs)

            return self._linear(inputs[0], None, lambda: average(inputs[0], None), average)
        if name == "batch_norm" and (folded := self._folded(func, args, kwargs)) is not None:
            return folded
        if name in _UNCHANGED:
            inputs, extra_args, extra_kwargs = _leading(("input",), args, kwargs)
            return rules.unchanged(inputs[0], lambda a: func(a, *extra_args, **extra_kwargs))
        if name in _SUMS | _WITH_CONSTANTS and (done := self._combined(name, func, args, kwargs)) is not None:
            return done
        result = func(*args, **kwargs)
        if name in _ROUTES:
            if isinstance(result, Tensor) and any(rules.is_bare(value) for value in tensors):
                result.made_by, result.made_at = None, result._version
        elif any(isinstance(r, Tensor) and r.requires_grad for r in _flat([result])):
            raise UnsupportedNetworkError(
                f"Excitation Backprop has no rule for {name!r}, which this network computes above the chosen layer: "
                "choose a layer closer to the output, or another method."
            )
        return result

    def _weighted(self, func: Callable, inputs: list, extra_args: tuple, extra_kwargs: dict) -> Tensor:
        activations, weight, bias = [*inputs, None][:3]

        def linear(a: Tensor, w: Tensor | None) -> Tensor:
            return func(a, w, None, *extra_args, **extra_kwargs)

        result = self._linear(
            activations, weight, lambda: func(activations, weight, bias, *extra_args, **extra_kwargs), linear
        )
        result.made_by, result.made_at = (activations, weight, linear, func.__name__), result._version
        return result

    def _linear(self, activations: Tensor, weight: Tensor | None, compute: Callable, linear: LinearRule) -> Tensor:
        name = self.layer_of.get(id(weight), "an averaging or resizing step").removesuffix(".weight")
        fixed = weight.detach() if weight is not None else None
        return rules.WinningLinear.apply(activations, fixed, compute, linear, self, name)

    def _folded(self, func: Callable, args: tuple, kwargs: dict) -> Tensor | None:
        """Batch norm folded into the linear operation whose result it reads; None where that cannot be."""
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        arguments = dict(zip(names, args)) | kwargs
        operation = getattr(arguments["input"], "made_by", None)
        if (
            operation is None
            or not rules.is_bare(arguments["input"])
            or arguments["running_var"] is None
            or arguments.get("training")
        ):
            return None
        activations, weight, linear, kind = operation
        scale = (arguments["running_var"] + arguments.get("eps", 1e-5)).rsqrt()
        if arguments.get("weight") is not None:
            scale = scale * arguments["weight"].detach()
        out = 1 if kind == "conv_transpose2d" else 0
        if weight.shape[out] != len(scale):
            return None
        shape = [1] * weight.ndim
        shape[out] = -1
        folded = weight.detach() * scale.view(shape)
        name = self.layer_of.get(id(weight), "a convolution").removesuffix(".weight")
        return rules.WinningLinear.apply(activations, folded, lambda: func(*args, **kwargs), linear, self, name)

    def _combined(self, name: str, func: Callable, args: tuple, kwargs: dict) -> Tensor | None:
        """Sums, and products with gates and constants; None where there is no rule."""
        (one, other), extra_args, extra_kwargs = _leading(("input", "other"), args, kwargs)
        is_fixed = [not isinstance(value, Tensor) or isinstance(value, nn.Parameter) for value in (one, other)]
        carries = [not still and value.requires_grad for still, value in zip(is_fixed, (one, other))]
        if name in _SUMS and all(carries):
            # A branch that is the same everywhere, such as a global context, gets its share all the same.
            one, other = torch.broadcast_tensors(one, other)
        alike = not any(is_fixed) and one.shape == other.shape
        # Scaled sums (alpha=) have no rule.
        if name in _SUMS and alike and not extra_args and not extra_kwargs:
            result = rules.WinningSum.apply(one, other, self)
            return one.copy_(result) if name.endswith("_") else result
        if alike and (name in _SUMS or all(carries)):
            return None
        # The larger operand is the signal; the smaller one is its gate, scale or shift.
        sizes = [value.numel() if isinstance(value, Tensor) else 0 for value in (one, other)]
        first = carries[0] if alike else sizes[0] >= sizes[1]
        if not carries[0 if first else 1]:
            return None
        if first:
            constant = other.detach() if isinstance(other, Tensor) else other
            return rules.unchanged(one, lambda a: func(a, constant, *extra_args, **extra_kwargs))
        constant = one.detach() if isinstance(one, Tensor) else one
        return rules.unchanged(other, lambda a: func(constant, a, *extra_args, **extra_kwargs))

    def started(self, linear: LinearRule, weight: Tensor, activations: Tensor, probability: Tensor) -> Tensor:
        """What arrives at the ``activations`` that the last layer with weights reads, as ``top`` says."""

        def run(sign: int) -> Tensor:
            # A one-logit network's class 0 starts at -1, which means +1 at the negated weights.
            up = self.propagate(linear, sign * weight, activations, probability.clamp(min=0))
            if bool((probability < 0).any()):
                return up + self.propagate(linear, -sign * weight, activations, (-probability).clamp(min=0))
            return up

        if self.top != "contrast":
            return run(-1 if self.top == "negated" else 1)
        difference, self.without_rival = rules.contrast(run(1), run(-1), self.normalize)
        return difference

    def propagate(self, linear: LinearRule, weight: Tensor | None, activations: Tensor, probability: Tensor) -> Tensor:
        """What arrives at ``activations`` of the ``probability`` of a linear operation's outputs."""
        weight = weight.clamp(min=0) if weight is not None else None
        propagated, lost = rules.propagate_linear(linear, weight, activations, probability)
        if self.clamp_negative and bool(lost.any()):
            propagated = propagated + rules.propagate_linear(linear, weight, torch.ones_like(activations), lost)[0]
        return propagated


def _leading(names: tuple[str, ...], args: tuple, kwargs: dict) -> tuple[list, tuple, dict]:
    """The first arguments, however they were passed; the other positional ones; the other named ones."""
    leading = list(args[: len(names)])
    leading += [kwargs[name] for name in names[len(leading) :] if name in kwargs]
    return leading, args[len(names) :], {key: value for key, value in kwargs.items() if key not in names}


def _check_resizing(args: tuple, kwargs: dict) -> None:
    """Refuse a resizing with negative weights."""
    mode = kwargs.get("mode", args[3] if len(args) > 3 else "nearest")
    if mode not in _RESIZINGS:
        raise UnsupportedNetworkError(
            f"Excitation Backprop cannot pass {mode} resizing, whose weights are partly negative: choose a layer "
            "behind it."
        )


def _flat(values: Any) -> list[Any]:
    return [v for value in values for v in (_flat(value) if isinstance(value, list | tuple) else [value])]
