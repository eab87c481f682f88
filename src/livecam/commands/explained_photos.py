"""What networks make of a batch of photos, by those methods that fit them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from livecam.commands.photos import Photo, inputs_of
from livecam.evaluation.loaded_network import Network
from livecam.explain import Explainer, Explanation, record, structure_of
from livecam.explain.explanation import explain_recording
from livecam.report.drawing.strips import Sample, printed_names, samples_of
from livecam.runtime.model_state import undisturbed

Result = TypeVar("Result")

EACH = "each"
"""Target that asks for every class."""

# More rows than these nobody compares, and each costs a pass.
_MOST_CLASSES = 10


@dataclass
class Answer:
    """What a network says of N photos.

    Args:
        target: Explained class ``(N,)``.
        predicted: Most probable class ``(N,)``.
        probability: Probability of the explained class ``(N,)``.
    """

    target: Tensor
    predicted: Tensor
    probability: Tensor


@dataclass
class View:
    """How one network sees a batch of N photos, for one class each.

    Args:
        network: The network.
        answer: What it says.
        explanations: Where it looks, by name of those methods that fit it.
        samples: The same for people, one for each photo.
    """

    network: Network
    answer: Answer
    explanations: dict[str, Explanation]
    samples: list[Sample]


class Viewers:
    """Networks that are asked for the same methods and the same class, batch after batch.

    Args:
        networks: One or several.
        explainers: Methods, in the order in which they are shown.
        target: Class to explain, by name or index; None takes the one that each network predicts, and ``each``, where
            no class is called so, all classes of a single network.
        truth: True class of photos, by path, where it is known.

    Raises:
        ValueError: When a network has no such class, or too many for ``each``.
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
        # What a batch is asked: number of the network, class.
        if self.each:
            _check_each(networks)
            self._asked = [(0, index) for index in range(networks[0].num_classes)]
        else:
            self._asked = [(number, network.class_index(target)) for number, network in enumerate(networks)]
        self._fitting = [list(explainers) for _ in networks]
        self._misfits: dict[str, dict[str, Exception]] = {explainer.name: {} for explainer in explainers}
        self._settled = len(networks) == 1

    def look(self, photos: Sequence[Photo]) -> list[View]:
        """Show photos to every network, which costs each one recorded pass and what its methods ask for beyond it.

        With ``each`` that is so for every class, and there is a view for every class in the order of their indices.

        Of several networks, the first batch tells which methods fit which; what does not is said on standard error.

        Args:
            photos: At least one, read for these networks.

        Raises:
            ValueError: When a method fits none of the networks, or fails at a later batch.
            KeyError: When a method names a layer that none of them has.
        """
        views = [self._view(number, target, photos) for number, target in self._asked]
        if not self._settled:
            self._report()
            self._settled = True
        return views

    def _view(self, number: int, target: int | None, photos: Sequence[Photo]) -> View:
        network = self.networks[number]
        images = inputs_of(photos, network, number)
        structure = structure_of(network.model, images)
        asked = self._attempt(number, lambda explainer: explainer.captures(structure)).values()
        settings = {"head": network.head, "normalisation": network.normalisation, "structure": structure}
        captures = [capture for captures in asked for capture in captures]
        recording = record(network.model, images, target, captures, **settings)
        with undisturbed(network.model, images.device):
            found = self._attempt(number, lambda explainer: explain_recording(explainer, recording))
        head, logits, targets = recording.head, recording.logits, recording.targets
        answer = Answer(targets, head.predict(logits), head.probability(logits, targets).float())
        pixels = network.normalisation.to_pixels(images).clamp(0, 1)
        words = {"class_names": network.class_names, "printed": self.printed}
        names = [photo.path.name for photo in photos]
        samples = samples_of(pixels, found, self.explainers, names, answer=answer, **words)
        for photo, sample in zip(photos, samples):
            sample.label = self._truth.get(photo.path)
        return View(network, answer, found, samples)

    def _attempt(self, number: int, action: Callable[[Explainer], Result]) -> dict[str, Result]:
        """What the methods that fit a network give, by name; one that refuses is left out from then on."""
        done = {}
        for explainer in self._fitting[number]:
            try:
                done[explainer.name] = action(explainer)
            except (ValueError, KeyError) as error:
                # Later on it would leave a gap in arrays and pictures that nothing explains.
                if self._settled:
                    raise
                self._misfits[explainer.name][self.networks[number].label] = error
        self._fitting[number] = [explainer for explainer in self._fitting[number] if explainer.name in done]
        return done

    def _report(self) -> None:
        for explainer in self.explainers:
            misfits = self._misfits[explainer.name]
            if len(misfits) == len(self.networks):
                raise next(iter(misfits.values()))
            for label, reason in misfits.items():
                print(f"{explainer.label} does not fit {label}: {reason.args[0]}", file=sys.stderr)


def _check_each(networks: Sequence[Network]) -> None:
    if len(networks) > 1:
        raise ValueError("Target each draws the classes of one network: give a single network, or name one class.")
    count = networks[0].num_classes
    if count > _MOST_CLASSES:
        raise ValueError(
            f"Target each draws a row for every class, at most {_MOST_CLASSES}, and {networks[0].label} has {count}: "
            "name one class instead."
        )
