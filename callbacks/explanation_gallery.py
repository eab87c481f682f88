"""ExplanationGallery: the same few images, explained at every validation, one labeled strip each."""

from collections.abc import Sequence

import numpy as np
from lightning import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from livecam.callbacks.base import Target
from livecam.callbacks.sample_gallery import SampleGallery
from livecam.core.batch import Batch
from livecam.core.normalization import Normalization
from livecam.core.validation import check_count
from livecam.explain import Explainer, by_names
from livecam.explain.explanation import check_names
from livecam.metrics import localization_score, object_mask
from livecam.report.drawing.strips import Sample, draw_strips, samples_of
from livecam.report.log_media import log_table


class ExplanationGallery(SampleGallery):
    """Logs one strip per fixed sample: input, ground truth and one column per method.

    The first gallery of a fit shows the untrained network, at step 0.

    Args:
        explainers: Methods, each under its own name.
        samples: Number of images; W&B shows at most 108 per key.
        target: ``predicted`` or ``label``.
        every_n_validations: See :class:`LiveExplanation`.
        head: See :class:`LiveExplanation`.
        normalization: See :class:`LiveExplanation`.
        class_names: Names in the order of class indices; None asks the datamodule, the module, the data set.
        key: Media key; each gallery of a trainer has its own.
        costly: Methods of many passes, such as ``sigcam``, ``igos``, ``rise`` and ``xrai``: further columns of some of
            the galleries, and of nothing else.
        costly_every_n_validations: Of every n-th of the validations that the gallery acts on; never of the untrained
            network. The latest of them is a table of its own in the end, where the last gallery lacks them.
        strict: See :class:`LiveExplanation`.

    Raises:
        ValueError: When ``samples`` is not in 1..108, or two methods share a name.
    """

    def __init__(
        self,
        explainers: Sequence[Explainer | str],
        samples: int = 8,
        target: Target = "predicted",
        every_n_validations: int = 1,
        head: str = "auto",
        normalization: Normalization | None = None,
        class_names: Sequence[str] | None = None,
        key: str = "explanations/gallery",
        costly: Sequence[Explainer | str] = (),
        costly_every_n_validations: int = 5,
        strict: bool = False,
    ) -> None:
        super().__init__(
            explainers,
            samples,
            class_names,
            key,
            target=target,
            every_n_validations=every_n_validations,
            head=head,
            normalization=normalization,
            strict=strict,
        )
        self.costly = by_names(costly)
        check_names([*self.explainers, *self.costly])
        check_count("costly_every_n_validations", costly_every_n_validations)
        self.costly_every_n_validations = costly_every_n_validations
        self._last: list[Sample] = []
        self._strips: list[np.ndarray] = []
        self._last_costly: tuple[list[Sample], list[np.ndarray]] | None = None

    def pictures(self, trainer: Trainer, pl_module: LightningModule, batch: Batch) -> list[tuple[np.ndarray, str]]:
        costly = self.costly if self._costly_due(trainer) else []
        explainers = [*self.explainers, *costly]
        explanations = self.explain(trainer, pl_module, batch, explainers)
        if not trainer.is_global_zero or not explanations:
            return []
        batch = batch.with_masks_for(next(iter(explanations.values())).target)
        has_masks = batch.mask is not None
        inside = {name: _inside(explanation.energy, batch) for name, explanation in explanations.items() if has_masks}
        self._last = samples_of(
            self.pixels_of(trainer, batch),
            explanations,
            explainers,
            self.names_of(batch),
            self.class_names_of(trainer, pl_module),
            labels=batch.labels,
            masks=batch.mask,
            has_mask=batch.has_mask,
            inside=inside,
        )
        self._strips = draw_strips(self._last, with_truth=any(sample.mask is not None for sample in self._last))
        if costly:
            self._last_costly = self._last, self._strips
        return [(strip, sample.caption) for strip, sample in zip(self._strips, self._last)]

    def _costly_due(self, trainer: Trainer) -> bool:
        if trainer.state.fn != TrainerFn.FITTING:
            return True
        turn, remainder = divmod(self._validations, self.every_n_validations)
        return bool(trainer.validating) and remainder == 0 and turn % self.costly_every_n_validations == 0

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the last gallery as a table, once, and the last one with costly methods where that was an earlier one."""
        if not trainer.is_global_zero or not self._last:
            return
        with self.isolated_from_training("the closing gallery table"):
            self._log_table(trainer, f"{self.key}_table", self._last, self._strips)
            if self._last_costly and self._last_costly[0] is not self._last:
                self._log_table(trainer, f"{self.key}_costly_table", *self._last_costly)

    def _log_table(self, trainer: Trainer, key: str, samples: list[Sample], strips: list[np.ndarray]) -> None:
        methods = list(samples[0].overlays)
        columns = ["sample", "label", "predicted", "explained", "probability", *(f"inside {m}" for m in methods)]
        rows = [
            [s.name, s.label or "", s.predicted, s.explained, s.probability, *(s.inside.get(m) for m in methods)]
            for s in samples
        ]
        for logger in trainer.loggers:
            with self.suppress(f"giving {key} to {type(logger).__name__}"):
                log_table(logger, key, columns, rows, strips)


def _inside(energy: Tensor, batch: Batch) -> Tensor:
    return localization_score(energy, object_mask(batch.mask))
