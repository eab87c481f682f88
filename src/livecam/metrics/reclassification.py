"""What a network makes of an image of which only what its map marks is left (Szandala 2021, section V)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from livecam.core.baselines import Baseline, as_baseline, baseline_images
from livecam.core.errors import OptionError
from livecam.core.normalization import Normalization
from livecam.core.validation import check_option
from livecam.metrics.image_metric import ImageMetric, check_fit
from livecam.runtime.inference import predict_proba

MODES = ("multiply", "threshold")


def check_masking(mode: str, threshold: float, baseline: Baseline) -> None:
    """Refuse a way to mask that there is not.

    Raises:
        OptionError: When the mode or the baseline is unknown, or the threshold outside of (0, 1].
    """
    check_option("mode", mode, MODES)
    as_baseline("baseline", baseline)
    # A threshold of 0 would keep every pixel of every map, those without any evidence too.
    if not 0 < threshold <= 1:
        raise OptionError(f"threshold is the least value of the map that is kept, in (0, 1], got {threshold}.")


def masked_images(
    images: Tensor,
    maps: Tensor,
    normalization: Normalization | None = None,
    mode: str = "multiply",
    threshold: float = 0.5,
    baseline: Baseline = "black",
) -> Tensor:
    """Leave of images what their maps mark: x m + baseline (1 - m).

    The mixture is made in the space of the model's input. That is the same as making it in pixels and normalizing
    then: the weights add up to 1 and normalization is affine. So ``multiply`` with a ``black`` baseline is the paper's
    product of image and map, taken in RGB before normalization.

    Args:
        images: Model input x ``(N, 3, H, W)``.
        maps: ``(N, H, W)`` in [0, 1]. All ones leaves the images as they are, all zeros leaves the baseline.
        normalization: Tie to pixels; baselines that are colors need it.
        mode: ``multiply``: m is the map. ``threshold``: m is 1 where the map reaches ``threshold``, else 0. The paper
            speaks of both and names no threshold.
        threshold: In (0, 1].
        baseline: What takes the place of the rest, see :func:`livecam.core.baselines.baseline_images`.

    Returns:
        Model input ``(N, 3, H, W)``.

    Raises:
        OptionError: When there is not one map of its size per image, a map leaves [0, 1], an option is unknown or a
            color has no normalization.
    """
    check_masking(mode, threshold, baseline)
    check_fit(maps, images)
    if bool(((maps < 0) | (maps > 1)).any()):
        raise OptionError("Maps leave [0, 1], and are no weights of pixels: give an Explanation's map, not its raw.")
    weight = (maps if mode == "multiply" else maps >= threshold).to(images.dtype)[:, None]
    return images * weight + baseline_images(images, baseline, normalization) * (1 - weight)


def top_classes(probabilities: Tensor, k: int = 5) -> tuple[Tensor, Tensor]:
    """The most probable classes: labels and probabilities, each ``(N, k)`` (fewer where there are fewer classes).

    Args:
        probabilities: Probability of every class ``(N, classes)``; of equal ones the lower index comes first.
        k: How many.
    """
    ordered = probabilities.sort(dim=1, descending=True, stable=True)
    return ordered.indices[:, :k], ordered.values[:, :k]


def ranks(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Place ``(N,)`` of each target among the classes, 1 for the most probable; ties as in :func:`top_classes`.

    Args:
        probabilities: Probability of every class ``(N, classes)``.
        targets: LongTensor ``(N,)``.
    """
    target_probability = probabilities.gather(1, targets[:, None])
    earlier = torch.arange(probabilities.shape[1], device=probabilities.device) < targets[:, None]
    return 1 + ((probabilities > target_probability) | ((probabilities == target_probability) & earlier)).sum(1)


def reclassification(masked: Tensor, clean: Tensor, targets: Tensor) -> Tensor:
    """Values of :class:`Reclassification`, ``(6, N)`` float64, from what a network answered.

    Args:
        masked: Probabilities ``(N, classes)`` of the masked images.
        clean: Those of the images as they are.
        targets: LongTensor ``(N,)``.
    """
    remaining, original = (values.double().gather(1, targets[:, None])[:, 0] for values in (masked, clean))
    rank = ranks(masked, targets)
    ratio = (remaining / original).masked_fill(original == 0, torch.nan)
    return torch.stack([remaining, original, (rank == 1).double(), (rank <= 5).double(), rank.double(), ratio])


class Reclassification(ImageMetric):
    """Is the class still recognized where only what the map marks is left of the image (Szandala 2021)?

    The paper prints the five most probable classes (:func:`top_classes`); this sums the target's part of them up. A map
    without contrast leaves nothing but the baseline, and what the network makes of that counts: such maps are counted,
    never left out. Costs two forwards per image. Masked images are not natural ones, so that results depend on the
    baseline, more or less with the network: compare several.

    Parts: ``reclassification`` (headline: probability of the target on the masked image), ``original`` (on the image as
    it is), ``kept`` (share of the images whose masked prediction is the target, and so the original prediction wherever
    that is the target), ``top5`` (share with the target among the first five), ``rank`` (mean place of the target, 1 is
    first; lower is better), ``ratio`` (mean of masked / original probability, which may exceed 1; undefined where the
    original is 0).

    Args:
        mode: ``multiply`` or ``threshold``, see :func:`masked_images`.
        threshold: In (0, 1], for that mode.
        baseline: What takes the place of the rest.
        name: See :class:`ImageMetric`.

    Raises:
        OptionError: When an option is unknown or out of range.
    """

    name: ClassVar[str] = "reclassification"
    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "targets", "maps", "head", "normalization"})
    uses: ClassVar[str] = "map"
    value_names: tuple[str, ...] = ("reclassification", "original", "kept", "top5", "rank", "ratio")
    table_columns: ClassVar[tuple[str, ...]] = ("original", "kept", "top5", "rank")

    def __init__(
        self, mode: str = "multiply", threshold: float = 0.5, baseline: Baseline = "black", *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        check_masking(mode, threshold, baseline)
        self.mode, self.threshold, self.baseline = mode, threshold, as_baseline("baseline", baseline)

    @property
    def label(self) -> str:
        """How images are masked, as people read it."""
        return f"{self.mode}{f' {self.threshold:g}' if self.mode == 'threshold' else ''}, {self.baseline}"

    def masked(self, images: Tensor, maps: Tensor, normalization: Normalization | None = None) -> Tensor:
        """What is left of images; see :func:`masked_images`."""
        return masked_images(images, maps, normalization, self.mode, self.threshold, self.baseline)

    def per_image(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        maps: Tensor,
        head: str = "auto",
        normalization: Normalization | None = None,
    ) -> Tensor:
        """Values ``(values, N)`` of maps ``(N, H, W)`` in [0, 1] of images ``(N, 3, H, W)`` and targets ``(N,)``."""
        masked = self.masked(images, maps, normalization)
        clean = predict_proba(model, images, head, targets)
        return reclassification(predict_proba(model, masked, head), clean, targets)
