"""What networks make of a batch of photos, by those methods that fit them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from livecam.commands.photos import Photo, inputs_of
from livecam.core.errors import OptionError
from livecam.core.maps import is_finite
from livecam.evaluation.fault_tolerance import FaultTolerantExplainer, without_map
from livecam.evaluation.loaded_network import Network
from livecam.explain import Explainer, Explanation
from livecam.report.drawing.strips import Sample, printed_names, samples_of
from livecam.runtime.failures import FailurePolicy

EACH = "each"
"""Target that asks for every class."""

# More rows than these nobody compares, and each costs a pass.
_MOST_CLASSES = 10


@dataclass
class NetworkView:
    """How one network sees a batch of N photos, for one class each.

    Args:
        network: The network.
        prediction: What it says; its maps mean nothing.
        explanations: Where it looks, by name of those methods that fit it.
        samples: The same for people, one for each photo.
    """

    network: Network
    prediction: Explanation
    explanations: dict[str, Explanation]
    samples: list[Sample]


class PhotoExplainer:
    """Networks that are asked for the same methods and the same class, batch after batch.

    Args:
        networks: One or several.
        explainers: Methods, in the order in which they are shown.
        target: Class to explain, by name or index; None takes the one that each network predicts, and ``each``, where
            no class is called so, all classes of a single network.
        truth: True class of photos, by path, where it is known.

    Raises:
        OptionError: When a network has no such class, or too many for ``each``.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        explainers: Sequence[Explainer],
        target: str | None,
        truth: Mapping[Path, str] | None = None,
    ) -> None:
        self.networks = networks
        self.explainers = explainers
        self.printed = printed_names(explainers)
        self.each = target == EACH and not any(EACH in (network.class_names or ()) for network in networks)
        self._truth = truth or {}
        # What is explained of a batch: number of the network, class.
        if self.each:
            _check_each(networks)
            self._requests = [(0, index) for index in range(networks[0].num_classes)]
        else:
            self._requests = [(number, network.class_index(target)) for number, network in enumerate(networks)]
        self._network_explainers = [NetworkExplainer(network, explainers) for network in networks]

    def explain(self, photos: Sequence[Photo]) -> list[NetworkView]:
        """Show photos to every network, which costs each one recorded pass and what its methods ask for beyond it.

        With ``each`` that is so for every class, and there is a view for every class in the order of their indices.

        Args:
            photos: At least one, read for these networks.

        Raises:
            OptionError: When no method fits any of the networks.
        """
        views = [self._view(number, target, photos) for number, target in self._requests]
        check_fitting(self._network_explainers)
        return views

    def check(self) -> None:
        """Say so where all that was drawn has failed; see :func:`check_maps`."""
        check_maps(self._network_explainers)

    def _view(self, number: int, target: int | None, photos: Sequence[Photo]) -> NetworkView:
        network = self.networks[number]
        images = inputs_of(photos, network, number)
        prediction, explanations = self._network_explainers[number].explain(images, target)
        pixels = network.normalization.to_pixels(images).clamp(0, 1)
        words = {"class_names": network.class_names, "printed": self.printed}
        names = [photo.path.name for photo in photos]
        samples = samples_of(pixels, explanations, self.explainers, names, prediction=prediction, **words)
        for photo, sample in zip(photos, samples):
            sample.label = self._truth.get(photo.path)
        return NetworkView(network, prediction, explanations, samples)


class NetworkExplainer:
    """Explains one batch after another in one network.

    The first batch tells which methods fit the network: what does not is missing from then on, and the log says why.
    What fails later on has maps of NaN, so that arrays, tables and pictures have a place for every photo.

    Args:
        network: The network.
        explainers: Methods, each under its own name.
    """

    def __init__(self, network: Network, explainers: Sequence[Explainer]) -> None:
        self.network, self.fitting = network, list(explainers)
        self.maps = self.failed = 0
        """How many maps there are, and how many of them are NaN or infinite."""
        self._settled = False
        self.failures = FailurePolicy(strict=False)
        self._explaining = FaultTolerantExplainer(self.failures)

    def explain(self, images: Tensor, target: int | None) -> tuple[Explanation, dict[str, Explanation]]:
        """Explain images ``(N, 3, S, S)`` for one class, or for the predicted one of each.

        Returns:
            What the network answers, whose maps mean nothing; explanations by method.
        """
        model, settings = self.network.model, {"head": self.network.head, "normalization": self.network.normalization}
        targets = None if target is None else torch.full((len(images),), target, device=images.device)
        explanations = self._explaining(model, images, targets, self.fitting, **settings)
        prediction = next(iter(explanations.values()), None) or without_map(model, images, targets, **settings)
        if not self._settled:
            self.fitting, self._settled = [e for e in self.fitting if e.name in explanations], True
        raw = torch.full_like(images[:, 0], torch.nan)
        nothing = replace(prediction, raw=raw, degenerate=prediction.degenerate | True)
        explanations = {explainer.name: explanations.get(explainer.name, nothing) for explainer in self.fitting}
        self.maps += len(explanations) * len(images)
        self.failed += sum(int((~is_finite(explanation.raw)).sum()) for explanation in explanations.values())
        return prediction, explanations


def check_fitting(explainers: Sequence[NetworkExplainer]) -> None:
    """Refuse to go on where no method fits any network.

    Raises:
        OptionError: With the networks.
    """
    if not any(one.fitting for one in explainers):
        labels = ", ".join(one.network.label for one in explainers)
        raise OptionError(f"No method fits {labels}: {explainers[-1].failures.latest}")


def check_maps(explainers: Sequence[NetworkExplainer]) -> None:
    """Say so where every map failed: whoever runs the command would take empty maps for maps.

    Raises:
        OptionError: Names where to look.
    """
    if all(one.maps == one.failed for one in explainers):
        raise OptionError("Every map failed: the log says why.")


def _check_each(networks: Sequence[Network]) -> None:
    if len(networks) > 1:
        raise OptionError("Target each draws the classes of one network: give a single network, or name one class.")
    count = networks[0].num_classes
    if count > _MOST_CLASSES:
        raise OptionError(
            f"Target each draws a row for every class, at most {_MOST_CLASSES}, and {networks[0].label} has {count}: "
            "name one class instead."
        )
