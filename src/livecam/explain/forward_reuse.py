"""Letting live scores read the validation step's own forward: no second forward, no autograd, or a reason why not."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from livecam.explain import Explainer, record, structure_of
from livecam.explain.explanation import explain_recording
from livecam.explain.recording.passive import NotRecordedError, PassiveRecorder, has_closed_form_gradient
from livecam.explain.recording.recording import Recording
from livecam.runtime.fsdp import is_sharded
from livecam.runtime.model_state import is_compiled, isolated_eval

_log = logging.getLogger(__name__)

_VERIFIED_IMAGES = 2  # images by which what was recorded is verified
_TOLERANCE = 0.01
_TOLERANCE_IN_HALF = 0.02  # of a map from 0 to 1, and of what it is made of


@dataclass(frozen=True)
class ReusableForward:
    """What a validation step's forward showed.

    Args:
        recorder: Recorded it.
        methods: Names of the methods that need no more.
        rows: Which of its images are meant, see :meth:`PassiveRecorder.recording`.
    """

    recorder: PassiveRecorder
    methods: frozenset[str]
    rows: Tensor | None = None

    def of(self, rows: Tensor | None) -> "ReusableForward":
        """The same of some images, any of them several times."""
        return replace(self, rows=rows)

    def recording(self, part: slice, targets: Tensor | None, **options: Any) -> Recording:
        """What a recorded pass over a part of the rows would have shown."""
        rows = part if self.rows is None else self.rows[part]
        if self.rows is None and part.stop >= len(self.recorder.images) and not part.start:
            rows = None
        return self.recorder.recording(rows, targets, **options)


class ForwardReuse:
    """Records the forward of validation steps and says whether explanations may rely on it.

    They may once the maps and what they are made of agree, for the first images of a validation, with those of a
    recorded pass: a validation step may show the network other images than its batch holds, or in lower precision.
    """

    def __init__(self) -> None:
        self._recorder: PassiveRecorder | None = None
        self._methods: list[Explainer] = []
        self._verified = False
        self._refused = ""
        self._told = ""

    def begin(self) -> None:
        """A validation begins: nothing is taken for granted."""
        self._verified, self._refused = False, ""

    def attach(self, model: nn.Module, images: Tensor, explainers: Sequence[Explainer]) -> None:
        """Place hooks for the forward that comes.

        Args:
            model: The network, of which any part may run.
            images: Model input of the batch.
            explainers: Methods that will be asked for.
        """
        self.stop()
        if self._refused or not any(explainer.single_pass for explainer in explainers):
            return
        if is_compiled(model) or is_sharded(model):
            self._refuse(explainers, "hooks see nothing of it: the network is compiled, or spread over devices")
            return
        structure = structure_of(model, images)
        captures: dict[str, list] = {}
        for explainer in explainers:
            # What is wrong with a method is told where it is asked for its maps.
            with suppress(Exception):
                captures[explainer.name] = explainer.captures(structure)
        self._methods = [
            e
            for e in explainers
            if e.single_pass and e.name in captures and has_closed_form_gradient(captures[e.name], structure)
        ]
        if self._methods:
            self._recorder = PassiveRecorder(model, images, [c for e in self._methods for c in captures[e.name]])
        else:
            self._refuse(explainers, "they ask for gradients that no closed form gives for this network")

    def stop(self) -> None:
        """Take the hooks away, and forget what was recorded."""
        if self._recorder is not None:
            self._recorder.stop()
        self._recorder = None

    def reusable(self, explainers: Sequence[Explainer], **options: Any) -> ReusableForward | None:
        """What may be relied on of the forward since :meth:`attach`; None where passes of our own are needed.

        Args:
            explainers: Methods that are asked for.
            options: Of :meth:`PassiveRecorder.recording`.
        """
        if self._recorder is None:
            return None
        self._recorder.stop()
        try:
            self._recorder.check()
            if not self._verified:
                self._verify(self._recorder, **options)
                self._verified = True
        except NotRecordedError as error:
            self._refuse(explainers, str(error))
            return None
        except Exception as error:
            # One method that does not fit must not cost the others: the recorded pass tells of it, and leaves it out.
            self._refuse(explainers, f"verifying what was recorded failed, {type(error).__name__}: {error}")
            return None
        names = [explainer.name for explainer in self._methods]
        others = [e.name for e in explainers if e.name not in names]
        passes = f" {', '.join(others)} take a recorded pass." if others else ""
        self._tell(f"{', '.join(names)} read the validation step's own forward and need no pass.{passes}")
        return ReusableForward(self._recorder, frozenset(names))

    def _verify(self, recorder: PassiveRecorder, **options: Any) -> None:
        """Compare with a recorded pass of the first images.

        Raises:
            NotRecordedError: When they disagree.
        """
        model, images = recorder.model, recorder.images[:_VERIFIED_IMAGES]
        captures = [capture for e in self._methods for capture in e.captures(recorder.structure)]
        recorded = record(model, images, None, captures, structure=recorder.structure, **options)
        passive = recorder.recording(slice(0, _VERIFIED_IMAGES), recorded.targets, **options)
        tolerance = _TOLERANCE_IN_HALF if recorder.in_half else _TOLERANCE
        pairs = [(passive.logits, recorded.logits)]
        pairs += [(passive.activations[key], value) for key, value in recorded.activations.items()]
        pairs += [(passive.gradients[key], value) for key, value in recorded.gradients.items()]
        if recorder.in_half:
            with isolated_eval(model, images.device):
                both = [
                    [explain_recording(e, recording).map for e in self._methods] for recording in (passive, recorded)
                ]
            pairs += zip(*both)
        # Compared this way round, because no comparison with NaN holds.
        if not all(_agree(mine, theirs, tolerance) for mine, theirs in pairs):
            raise NotRecordedError("it shows the network something else than the batch's images, or too coarsely")

    def _refuse(self, explainers: Sequence[Explainer], why: str) -> None:
        self.stop()
        self._refused = why
        names = ", ".join(explainer.name for explainer in explainers)
        self._tell(f"{names} take a recorded pass instead of the validation step's own forward: {why}.")

    def _tell(self, what: str) -> None:
        if what != self._told:
            _log.info("Scores: %s", what)
        self._told = what


def _agree(mine: Tensor, theirs: Tensor, tolerance: float) -> bool:
    return bool((mine - theirs).abs().max() <= tolerance * theirs.abs().max())
