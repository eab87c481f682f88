"""Maps that know nothing of the class: what every explanation has to beat."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from livecam.core.options import Positive
from livecam.explain.explainer import Explainer
from livecam.explain.methods.cam import LayerExplainer
from livecam.explain.recording.recording import Recording


@dataclass(frozen=True)
class CenteredGaussian(Explainer):
    """A Gaussian in the middle of the image, the same for every image and class; costs nothing.

    Photographers put what they mean in the middle, so this map scores far above chance on photos: an explanation that
    does not beat it may have told no more than that.

    Args:
        spread: Standard deviation as a share of the height and of the width.
        name: See :class:`Explainer`.

    Raises:
        OptionError: When the spread is not positive.
    """

    method: ClassVar[str] = "centered_gaussian"
    label: ClassVar[str] = "Centered Gaussian"
    single_pass: ClassVar[bool] = True

    spread: Positive = 0.25

    def maps(self, images: Tensor) -> Tensor:
        """The map ``(N, H, W)`` in (0, 1] for images ``(N, 3, H, W)``, float32 or float64."""
        kind = torch.promote_types(images.dtype, torch.float32)
        sides = (torch.linspace(-0.5, 0.5, side + 1, dtype=kind, device=images.device) for side in images.shape[2:])
        rows, columns = ((-0.5 * (((edges[:-1] + edges[1:]) / 2) / self.spread).square()).exp() for edges in sides)
        return (rows[:, None] * columns).expand(len(images), -1, -1)

    def explain(self, recording: Recording) -> Tensor:
        return self.maps(recording.images)


@dataclass(frozen=True)
class Uniform(LayerExplainer):
    """Ones everywhere at the layer's resolution; costs nothing.

    As a map of its own it has no contrast: its energy scores chance level. As the base of Gradual Extrapolation it
    shows what earlier activations put into that map whatever the class (``gradual_uniform``).
    """

    method: ClassVar[str] = "uniform"
    label: ClassVar[str] = "Uniform map"
    single_pass: ClassVar[bool] = True
    gradient: ClassVar[bool] = False

    def explain(self, recording: Recording) -> Tensor:
        return torch.ones_like(self.activations(recording)[:, 0])


CONTROLS = (CenteredGaussian, Uniform)
"""Methods whose maps are no results: something to compare with."""
