"""AOP: the map of one method as the start of a mask that another one optimizes; SIGCAM is the paper's instance."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from livecam.core.baselines import Baseline, baseline_images
from livecam.core.errors import OptionError
from livecam.core.maps import is_degenerate, minmax, resize
from livecam.core.options import Amount, Share
from livecam.explain.explainer import Explainer
from livecam.explain.methods.cam import WGradCAM
from livecam.explain.methods.mask_optimization.base import MaskOptimizer, Warmup
from livecam.explain.methods.mask_optimization.igos import IGOS
from livecam.explain.recording.hooks import Capture
from livecam.explain.recording.network_structure import Structure
from livecam.explain.recording.recording import Recording
from livecam.explain.registry import Base, explainer_classes
from livecam.runtime.inference import Precision

# A map that loses more of its contrast on the way to the mask has none that the mask could show.
_LEFT = 1e-3


@dataclass(frozen=True)
class AOP(Explainer):
    """Activation optimized with perturbation (Zhang, Rao & Yang, eq. 4 to 6): M from 1 - up(lam Mb [Mb >= theta]) on.

    Mb is the base map scaled to [0, 1]; what of it is below theta is left out. During the first ``warmup`` iterations
    the baseline is less blurred. Costs what the base costs and what the optimizer costs.

    An image whose base map has no contrast, or is not finite, gets what the optimizer makes of it alone, without
    warm-up; ``details`` and the pictures say so. A base map finer than the mask is averaged down to it before it is
    scaled. With lam=0 and warmup=0 this is the optimizer itself, and with 0 iterations what theta leaves of the base.

    ``details``: those of the base and of the optimizer; ``start`` ``(N, m, m)``, the masks it starts from; ``fallback``
    ``(N,)`` bool, where the base map had no contrast.

    Args:
        base: The method whose map is optimized, or its name.
        optimizer: The method that optimizes it, or its name: ``igos`` or ``emp``.
        theta: Least value of the scaled base map that is kept, in [0, 1].
        lam: What the base map is multiplied by, in [0, 1]: how much of the image is deleted at first.
        size: Side m of the masks; None takes the optimizer's.
        warmup: First iterations under another baseline; 0 for none.
        warmup_baseline: That baseline, see :func:`livecam.core.baselines.baseline_images`; the paper does not give its
            blur.
        precision: What the optimizer's passes run in, see :mod:`livecam.runtime.inference`; None takes the optimizer's.
        name: Key of the method; None makes it ``<optimizer>_<base>``.

    Raises:
        OptionError: When a method or an option is unknown, or a number is out of range.
    """

    base: Base
    optimizer: Base = "igos"
    theta: Share = 0.7
    lam: Share = 0.15
    size: int | None = None
    warmup: Amount = 5
    warmup_baseline: Baseline = (11, 5.0)
    precision: Precision | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.optimizer, MaskOptimizer):
            raise OptionError(f"{self.optimizer.name!r} optimizes no mask: optimizer is igos or emp.")
        if 0 < self.optimizer.iterations <= self.warmup:
            raise OptionError(
                f"All {self.optimizer.iterations} iterations of {self.label} would be warm-up: give it fewer, such as "
                f"warmup={self.optimizer.iterations // 3}."
            )
        options = {"size": self.size, "precision": self.precision}
        options = {option: value for option, value in options.items() if value is not None}
        object.__setattr__(self, "optimizer", replace(self.optimizer, **options))

    @classmethod
    def prefixes(cls) -> dict[str, Callable[..., Explainer]]:
        """``igos_gradcam``: every optimizer upon every method."""
        optimizers = [name for name, kind in explainer_classes().items() if issubclass(kind, MaskOptimizer)]
        return {f"{name}_": partial(AOP, optimizer=name) for name in optimizers} if cls is AOP else {}

    @property
    def default_name(self) -> str:
        """``<optimizer>_<base>``."""
        return f"{self.optimizer.name}_{self.base.name}"

    @property
    def label(self) -> str:
        """As people read it."""
        return f"{self.base.label} + {self.optimizer.label}"

    def captures(self, structure: Structure) -> list[Capture]:
        return self.base.captures(structure)

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        maps, details = self.base.result(recording)
        images = recording.images
        start, empty = self.start(maps.to(torch.promote_types(images.dtype, torch.float32)))
        warmup = None
        if self.warmup:
            warmup = Warmup(self.warmup, baseline_images(images, self.warmup_baseline, recording.normalization), ~empty)
        refined_maps, optimizer_details = self.optimizer.refine(recording, start, warmup, self.label)
        more: dict[str, Any] = {"start": start, "fallback": empty}
        if empty.any():
            base_note, alone = details.get("note") or "", f"{self.base.label} empty: {self.optimizer.label} alone"
            notes = base_note if isinstance(base_note, list) else [base_note] * len(images)
            more["note"] = [alone if none else note for none, note in zip(empty.tolist(), notes)]
        return refined_maps, details | optimizer_details | more

    def start(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Where masks start ``(N, m, m)`` from base maps ``(N, h, w)``, and which of these are empty, ``(N,)`` bool."""
        side, coarse = self.optimizer.size, maps
        if max(maps.shape[1:]) > side:
            size = [min(side, length) for length in maps.shape[1:]]
            coarse = F.interpolate(maps[:, None], size, mode="bilinear", antialias=True)[:, 0]
        empty = is_degenerate(maps) | (_range(coarse) <= _LEFT * _range(maps))
        coarse = coarse.masked_fill(empty[:, None, None], 0)
        scaled = minmax(coarse)
        return 1 - self.lam * resize(scaled * (scaled >= self.theta), (side, side)), empty


def _range(maps: Tensor) -> Tensor:
    low, high = maps.flatten(1).aminmax(dim=1)
    return high - low


@dataclass(frozen=True)
class SIGCAM(AOP):
    """SIGCAM (Zhang, Rao & Yang): WGradCAM optimized by I-GOS, see :class:`AOP`.

    The paper gives no blur for the warm-up and says that other parameters are those of I-GOS: 15 iterations, the 5 of
    the warm-up among them. Costs one forward and backward, shared with all methods of the call, I-GOS, and one forward
    for the second baseline. With another base or optimizer it goes by their names.

    Args:
        base: See :class:`AOP`.
        optimizer: See :class:`AOP`.
        theta: See :class:`AOP`; None takes the preset's.
        lam: See :class:`AOP`; None takes the preset's.
        size: See :class:`AOP`.
        warmup: See :class:`AOP`.
        warmup_baseline: See :class:`AOP`.
        precision: See :class:`AOP`.
        preset: The paper's theta and lam: 0.7 and 0.15 for ``imagenet``, 0.6 and 0.25 for ``coco``.
        name: See :class:`Explainer`.
    """

    method: ClassVar[str] = "sigcam"
    presets: ClassVar = {"imagenet": {"theta": 0.7, "lam": 0.15}, "coco": {"theta": 0.6, "lam": 0.25}}

    base: Base = "wgradcam"
    theta: Share | None = None
    lam: Share | None = None
    preset: Literal["imagenet", "coco"] = "imagenet"

    @property
    def default_name(self) -> str:
        return self.method if self._genuine else super().default_name

    @property
    def label(self) -> str:
        """As people read it."""
        return "SIGCAM" if self._genuine else super().label

    @property
    def _genuine(self) -> bool:
        return isinstance(self.base, WGradCAM) and isinstance(self.optimizer, IGOS)
