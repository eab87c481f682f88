"""FeatureMapGallery: what chosen layers make of the same few images, at every validation."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from lightning import LightningModule, Trainer

from livecam.callbacks.sample_gallery import SampleGallery
from livecam.core.batch import Batch
from livecam.core.normalization import Normalization
from livecam.explain.feature_maps import Features, check_choice, feature_maps
from livecam.report.drawing.feature_grid import feature_grids
from livecam.report.drawing.strips import samples_of
from livecam.runtime.failures import together_or_alone


class FeatureMapGallery(SampleGallery):
    """Logs one picture per fixed sample: the input, and below it a row of channels for each layer.

    All layers come from one forward without gradients. The first gallery of a fit shows the untrained network, at
    step 0. A layer that fails is reported once and left out.

    Args:
        layers: Full names or unique suffixes; None takes the last tensor of each resolution stage and the default
            target layer, where class activation maps look.
        channels: Which channels of every layer; None picks the strongest ones of each image anew every time.
        strongest: How many channels that is.
        samples: Number of images; W&B shows at most 108 per key.
        every_n_validations: See :class:`LiveExplanation`.
        head: See :class:`LiveExplanation`.
        normalization: See :class:`LiveExplanation`.
        class_names: Names in the order of class indices; None asks the datamodule, the module, the data set.
        key: Media key; each gallery of a trainer has its own.
        strict: See :class:`LiveExplanation`.

    Raises:
        ValueError: When ``samples`` is not in 1..108, or the choice of layers and channels fits no network.
    """

    def __init__(
        self,
        layers: Sequence[str] | None = None,
        channels: Sequence[int] | None = None,
        strongest: int = 8,
        samples: int = 4,
        every_n_validations: int = 1,
        head: str = "auto",
        normalization: Normalization | None = None,
        class_names: Sequence[str] | None = None,
        key: str = "explanations/features",
        strict: bool = False,
    ) -> None:
        super().__init__(
            [],
            samples,
            class_names,
            key,
            target="predicted",
            every_n_validations=every_n_validations,
            head=head,
            normalization=normalization,
            strict=strict,
        )
        check_choice(layers, channels, strongest)
        self.layers = list(layers) if layers is not None else None
        self.channels = list(channels) if channels is not None else None
        self.strongest = strongest

    @property
    def state_key(self) -> str:
        """Identity in checkpoints, by what is shown."""
        return f"{super().state_key}{self.layers, self.channels, self.strongest}"

    def pictures(self, trainer: Trainer, pl_module: LightningModule, batch: Batch) -> list[tuple[np.ndarray, str]]:
        features = self._look(pl_module, batch)
        if not trainer.is_global_zero or features is None:
            return []
        samples = samples_of(
            self.pixels_of(trainer, batch),
            {},
            [],
            self.names_of(batch),
            self.class_names_of(trainer, pl_module),
            batch.labels,
            prediction=features,
        )
        return list(zip(feature_grids(samples, features.layers), [sample.caption for sample in samples]))

    def _look(self, pl_module: LightningModule, batch: Batch) -> Features | None:
        def look(layers: Sequence[str] | None) -> Features:
            head = self.head_of(pl_module, batch)
            return feature_maps(pl_module, batch.image, layers, self.channels, self.strongest, head=head)

        def broken(error: Exception) -> Sequence[str]:
            if self._failures.strict or self.layers is None:
                raise error
            return self.layers

        def alone(layer: str, work: Callable[[], Features]) -> Features | None:
            with self._failures.suppress(f"Feature maps of {layer!r} failed and are left out."):
                return work()

        parts = together_or_alone(self.layers, look, broken, alone)
        return replace(parts[0], layers=[layer for part in parts for layer in part.layers]) if parts else None
