"""Sanity check by model randomization: a map that explains a network changes when its weights do (Adebayo et al. 2018).

A map that looks the same for random weights shows the image, not what was learnt.
"""

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livecam.core.errors import OptionError, UnsupportedNetworkError
from livecam.core.maps import is_degenerate
from livecam.core.validation import check_seed
from livecam.metrics.image_metric import ImageMetric
from livecam.runtime.module_state import temporary_hooks
from livecam.runtime.progress import chunks

Stage = tuple[int, int]
"""Which layers are random: from, and up to without, counted from the output down."""


def average_ranks(values: Tensor) -> Tensor:
    """Ranks from 1 of each row of ``(N, M)``, float64; equal values share the mean of their ranks."""
    ordered, values = values.sort(1).values, values.contiguous()
    below, up_to = torch.searchsorted(ordered, values), torch.searchsorted(ordered, values, right=True)
    return (below + up_to + 1).double() / 2


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's rank correlation of maps ``(N, h, w)``, ``(N,)`` in [-1, 1]; NaN where either is constant."""
    one, other = _centered_ranks(one), _centered_ranks(other)
    return (one * other).sum((1, 2)) / (one.square().sum((1, 2)) * other.square().sum((1, 2))).sqrt()


def shifted_spearman(one: Tensor, other: Tensor, share: float = 0.95) -> Tensor:
    """Chance level of a rank correlation: the quantile of |rho| over all cyclic shifts of ``other`` against ``one``.

    Exchanging single pixels would say 1.96 / sqrt(hw), far too little for smooth maps, whose neighbors are alike.
    Shifting a map as a whole keeps how smooth it is, and loses only where things are. All hw shifts are taken, at once
    by Fourier transform, at the resolution of the maps: no sampling, no seed.

    Args:
        one: Maps ``(N, h, w)``.
        other: Maps ``(N, h, w)``.
        share: Which quantile, in (0, 1].

    Returns:
        ``(N,)`` in [0, 1]; NaN where either map is constant.
    """
    one, other = _centered_ranks(one), _centered_ranks(other)
    products = torch.fft.ifft2(torch.fft.fft2(one) * torch.fft.fft2(other).conj()).real.abs().flatten(1)
    quantile = products.kthvalue(math.ceil(share * products.shape[1]), 1).values
    return quantile / (one.square().sum((1, 2)) * other.square().sum((1, 2))).sqrt()


def _centered_ranks(maps: Tensor) -> Tensor:
    ranks = average_ranks(maps.flatten(1))
    return (ranks - ranks.mean(1, keepdim=True)).view(maps.shape)


def ssim(one: Tensor, other: Tensor, window: int = 7) -> Tensor:
    """Mean structural similarity (Wang et al. 2004) under a uniform window, for values in [0, 1].

    Equals scikit-image with ``use_sample_covariance=False``: only windows that lie inside the image count, unlike in
    torchmetrics, which pads. Maps smaller than the window are one window along that side.

    Args:
        one: Maps ``(N, h, w)`` in [0, 1].
        other: Maps ``(N, h, w)`` in [0, 1].
        window: Side of the window in pixels.

    Returns:
        ``(N,)`` in [-1, 1].
    """
    one, other = one.double(), other.double()
    size = [min(window, side) for side in one.shape[1:]]
    pairs = torch.stack([one, other, one * one, other * other, one * other], 1)
    mean, mean_other, square, square_other, product = F.avg_pool2d(pairs, size, stride=1).unbind(1)
    # In this order, maps that are the same score exactly 1.
    variances = (square - mean * mean) + (square_other - mean_other * mean_other)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean * mean_other + c1) / (mean * mean + mean_other * mean_other + c1)
    structure = (2 * (product - mean * mean_other) + c2) / (variances + c2)
    return (luminance * structure).mean((1, 2))


def similarity(one: Tensor, other: Tensor) -> Tensor:
    """How alike maps ``(N, h, w)`` of any scale are.

    Returns:
        ``(3, N)``: Spearman's correlation, that of the absolute values, SSIM after scaling each to [0, 1]. NaN where
        either map has no contrast or is not finite: nothing can be compared.
    """
    values = [spearman(one, other), spearman(one.abs(), other.abs()), ssim(_scaled(one), _scaled(other))]
    unusable = torch.stack([is_degenerate(m) for m in (one, other)]).any(0)
    return torch.stack(values).masked_fill(unusable, torch.nan)


def _scaled(maps: Tensor) -> Tensor:
    low, high = (value[:, None, None].double() for value in maps.flatten(1).aminmax(dim=1))
    return (maps - low) / (high - low)


def private_copy(model: nn.Module) -> nn.Module:
    """A deep copy whose parameters autograd accepts, whatever mode surrounds the call."""
    # A LightningModule leaves its trainer behind, by its own __getstate__.
    with torch.inference_mode(False):
        return copy.deepcopy(model)


def resettable_layers(model: nn.Module) -> list[str]:
    """Names of the modules that have parameters of their own and a ``reset_parameters``, the last registered first.

    Raises:
        ValueError: When there is none.
    """
    owners = {name: module for name, module in model.named_modules() if any(True for _ in module.parameters(False))}
    names = [name for name, module in owners.items() if hasattr(module, "reset_parameters")]
    if not names:
        raise UnsupportedNetworkError(
            f"{type(model).__name__} has no layer to randomize: none of its modules has parameters and a method "
            "reset_parameters(), as nn.Conv2d has. Give your own layers one."
        )
    unchanged = sorted({type(module).__name__ for name, module in owners.items() if name not in names})
    if unchanged:
        warnings.warn(
            f"Parameters of {', '.join(unchanged)} stay as they are in the randomization check: these modules have no "
            "reset_parameters().",
            stacklevel=2,
        )
    return names[::-1]


def reset_layer(layer: nn.Module, seed: int) -> None:
    """Draw a layer's own parameters anew by its own ``reset_parameters``; its buffers stay.

    BatchNorm's running statistics are buffers, and its ``reset_parameters`` would forget them. The numbers are drawn on
    the CPU, so that a seed means the same on every device; the global random state is as before.
    """
    fresh = copy.deepcopy(layer).cpu()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        # Not torch.manual_seed, which seeds all devices.
        torch.default_generator.manual_seed(seed)
        fresh.reset_parameters()
        for parameter, new in zip(layer.parameters(recurse=False), fresh.parameters(recurse=False)):
            parameter.copy_(new)


@contextmanager
def noting_calls(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, int]]:
    """Note which layers are called inside, and as which: a dict from name to position that fills as they are."""
    order: dict[str, int] = {}

    def note(name: str, *_: object) -> None:
        order.setdefault(name, len(order))

    modules = ((name, model.get_submodule(name)) for name in layers)
    with temporary_hooks(module.register_forward_pre_hook(partial(note, name)) for name, module in modules):
        yield order


class Randomization(ImageMetric):
    """How much of a map is left when the network's weights are random; lower is better.

    Layers are re-initialized by their own ``reset_parameters`` in copies of the network (one at a time in memory);
    running statistics stay. Layers are ordered by execution, from the output down, as the maps of the wholly random
    network show; layers that are used without being called come last. Where no call is seen at all, they stand in
    reversed order of registration.

    An image is undefined where its map, or that of the wholly random network, has no contrast: nothing can be compared.
    A further part is undefined where the map of its own random network has none.

    Costs at most 8 explain-calls (fewer with less than 5 layers), each with a deep copy: all layers; the top one, 25,
    50, 75 % of the layers from the top; the three lower quarters alone (the upper one alone is the 25 %).

    Parts: ``randomization`` (headline: Spearman's correlation with the map of the wholly random network), ``abs`` (of
    the absolute values), ``ssim`` (of maps scaled to [0, 1], window 7 px); ``top``, ``top_abs``, ``top_ssim`` where
    only the layer nearest to the output is random; ``at_25``, ``at_50``, ``at_75`` (Spearman, cascading);
    ``independent``, ``independent_abs``, ``independent_ssim`` (mean over the quarters of the layers, each alone);
    ``null`` (what |headline| stays below for 95 % of all cyclic shifts, see :func:`shifted_spearman`).

    Args:
        seed: Of the random weights.
        name: See :class:`ImageMetric`.
    """

    name: ClassVar[str] = "randomization"
    inputs: ClassVar[frozenset[str]] = frozenset({"model", "explain", "maps"})
    uses: ClassVar[str] = "raw"
    value_names: tuple[str, ...] = (
        *("randomization", "abs", "ssim"),
        *("top", "top_abs", "top_ssim"),
        *("at_25", "at_50", "at_75"),
        *("independent", "independent_abs", "independent_ssim"),
        "null",
    )
    table_columns: ClassVar[tuple[str, ...]] = ("ssim", "top", "independent", "null")
    higher_is_better = False

    def __init__(self, seed: int = 0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        check_seed("seed", seed)
        self.seed = seed

    def per_image(self, model: nn.Module, explain: Callable[[nn.Module], Tensor], maps: Tensor) -> Tensor:
        """Values ``(values, N)``.

        Args:
            model: The network that is explained; left as it was found.
            explain: From a network to maps ``(N, h, w)`` of the same images and classes.
            maps: What it gives for ``model``, signed or not.

        Raises:
            ValueError: When the network has no layer to randomize, or ``explain`` gives maps of another shape.
        """
        twin = private_copy(model)
        layers = resettable_layers(twin)
        draws = torch.randint(2**62, (len(layers),), generator=torch.Generator().manual_seed(self.seed))
        seeds = dict(zip(layers, draws.tolist()))

        def explained(twin: nn.Module, chosen: Sequence[str]) -> Tensor:
            for name in chosen:
                reset_layer(twin.get_submodule(name), seeds[name])
            twin_maps = explain(twin).detach().to(maps.device)
            if twin_maps.shape != maps.shape:
                raise OptionError(
                    f"explain gave maps {tuple(twin_maps.shape)} of the randomized network, but maps are "
                    f"{tuple(maps.shape)}: it has to explain the same images by the same method."
                )
            return twin_maps

        with noting_calls(twin, layers) as position:
            random_maps = explained(twin, layers)
        del twin
        downwards = sorted(layers, key=lambda name: -position.get(name, -1))

        count = len(layers)
        cuts = [math.ceil(count * quarter / 4) for quarter in range(5)]
        quarters = [(start, stop) for start, stop in pairwise(cuts) if start < stop]
        similarities: dict[Stage, Tensor] = {(0, count): similarity(maps, random_maps)}
        cascade = [(0, stop) for stop in (1, *cuts[1:4])]
        missing = sorted({*cascade, *quarters} - {*similarities})
        for part in chunks("randomizing layers", len(missing), 1):
            start, stop = missing[part.start]
            similarities[start, stop] = similarity(maps, explained(private_copy(model), downwards[start:stop]))

        independent = torch.stack([similarities[quarter] for quarter in quarters]).mean(0)
        steps = torch.stack([similarities[stage][0] for stage in cascade[1:]])
        return torch.cat(
            [similarities[0, count], similarities[0, 1], steps, independent, shifted_spearman(maps, random_maps)[None]]
        )
