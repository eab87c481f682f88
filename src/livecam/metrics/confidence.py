"""Average drop and increase in confidence where a map is laid over its image (Chattopadhay et al. 2018, Grad-CAM++)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from livecam.core.errors import OptionError
from livecam.core.normalization import Normalization
from livecam.core.validation import check_option
from livecam.metrics.image_metric import ImageMetric
from livecam.metrics.reclassification import masked_images
from livecam.runtime.inference import class_probability

_BASELINE_OF = {"input": "zero_normalized", "pixels": "black"}
"""What a map of 0 leaves of a pixel, in each space that the product can be taken in."""


def confidence_change(clean: Tensor, masked: Tensor) -> Tensor:
    """Values of :class:`ConfidenceChange`, ``(3, N)`` float64.

    Args:
        clean: Probability Y of the class on the image ``(N,)`` in [0, 1].
        masked: Probability O of it on what the map leaves ``(N,)`` in [0, 1].
    """
    clean, masked = clean.double(), masked.double()
    lost = (clean - masked).clamp(min=0)
    # Where Y is 0 nothing can be lost, so that no share is.
    share = torch.where(clean > 0, lost / clean, lost)
    return torch.stack([100 * share, 100 * (clean < masked).double(), lost])


class ConfidenceChange(ImageMetric):
    """How much of a class's probability is lost where an image is multiplied by its map; lower is better.

    With Y the probability of the class on the image and O that on the product: the average drop is the mean of
    max(0, Y - O) / Y, the increase in confidence the share of the images with Y < O (Chattopadhay et al. 2018). Both
    reward maps that leave everything: a map of ones drops nothing. Maps without contrast leave nothing, and what the
    network makes of that counts. Where Y is 0 the drop is 0. Costs two forwards per image.

    Parts: ``confidence`` (headline: average drop in percent, 0 to 100), ``increase`` (percent of the images; higher is
    better), ``absolute`` (mean of max(0, Y - O) in [0, 1], which libraries call the drop in confidence).

    Args:
        space: Where the product is taken: ``input`` (as in the papers' codes; 0 is the data's mean color) or
            ``pixels`` (0 is black), which needs a normalization.
        name: See :class:`ImageMetric`.

    Raises:
        OptionError: When the space is unknown.
    """

    name: ClassVar[str] = "confidence"
    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "targets", "maps", "head", "normalization"})
    uses: ClassVar[str] = "map"
    value_names: tuple[str, ...] = ("confidence", "increase", "absolute")
    table_columns: ClassVar[tuple[str, ...]] = ("increase", "absolute")
    higher_is_better = False

    def __init__(self, space: str = "input", *, name: str | None = None) -> None:
        super().__init__(name=name)
        check_option("space", space, _BASELINE_OF)
        self.space = space

    def per_image(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        maps: Tensor,
        head: str = "auto",
        normalization: Normalization | None = None,
    ) -> Tensor:
        """Values ``(values, N)`` of maps ``(N, H, W)`` in [0, 1] of images ``(N, 3, H, W)`` and targets ``(N,)``.

        Raises:
            OptionError: When maps do not fit the images or leave [0, 1], or pixels are asked for without normalization.
        """
        if self.space == "pixels" and normalization is None:
            raise OptionError(
                "space='pixels' multiplies what people see: pass normalization=Normalization(mean, std) to say how "
                "pixels become model input, or use space='input'."
            )
        masked = masked_images(images, maps, normalization, baseline=_BASELINE_OF[self.space])
        probabilities = (class_probability(model, batch, targets, head) for batch in (images, masked))
        return confidence_change(*probabilities)
