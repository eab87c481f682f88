"""ReferenceMask: another network's map as ground truth, as the U-Net paper measures localization."""

from typing import Literal

import torch
from torch import Tensor, nn

from livecam.batch import Batch
from livecam.checkpoint import load_classifier
from livecam.explain import Explainer, GradCAMPlusPlus, explain
from livecam.explain.maps import minmax, resize
from livecam.heads import as_logits
from livecam.models import build_model
from livecam.normalisation import IMAGENET, Normalisation


class ReferenceMask:
    """Maps of a fixed network, which a metric thresholds.

    It is no module and part of none, so it is never in a checkpoint. Maps are cached by sample index at the layer's
    resolution, so a validation after the first costs nothing.

    Args:
        model: Name of a network with ImageNet's classes (see :func:`livecam.models.build_model`).
        weights: Its published weights by name, or a local file.
        checkpoint: A checkpoint of ``train.py`` instead of ``model`` and ``weights``.
        num_classes: Outputs of ``model``.
        explainer: Method; the paper takes Grad-CAM++.
        target: Class explained in the reference network: the sample's own ``label``, the ``predicted`` class, or for
            each class of the data the reference's classes that mean it (the most probable of them is explained).
        head: Head of the reference network.
        normalisation: What the reference network reads; ImageNet's for ``model``, its own for ``checkpoint``.
        cache: Most maps kept.

    Raises:
        ValueError: When neither or both of ``model`` and ``checkpoint`` are given.
    """

    def __init__(
        self,
        model: str | None = None,
        weights: str | None = None,
        checkpoint: str | None = None,
        num_classes: int = 1000,
        explainer: Explainer | None = None,
        target: Literal["label", "predicted"] | dict[int, list[int]] = "label",
        head: str = "auto",
        normalisation: Normalisation | None = None,
        cache: int = 50_000,
    ) -> None:
        if (model is None) == (checkpoint is None):
            raise ValueError("ReferenceMask needs either model= (with weights=) or checkpoint=.")
        self._network: nn.Module
        if checkpoint is not None:
            self._network = load_classifier(checkpoint)
            own = Normalisation(self._network.hparams.mean, self._network.hparams.std)
            head = self._network.head.name if head == "auto" else head
        else:
            self._network, own = build_model(model, num_classes, weights).eval(), IMAGENET
        self._network.requires_grad_(False)
        self.explainer = explainer or GradCAMPlusPlus()
        self.target = target
        self.head = head
        self.normalisation = normalisation or own
        self.cache = cache
        self._maps: dict[int, Tensor] = {}

    def masks(self, batch: Batch, normalisation: Normalisation) -> Tensor:
        """Reference maps of a batch.

        Args:
            batch: Images as model input; ``index`` makes their maps cacheable.
            normalisation: What the batch was normalised with.

        Returns:
            ``(N, H, W)`` in [0, 1], scaled per sample.
        """
        known = [None] * len(batch) if batch.index is None else batch.index.tolist()
        missing = [i for i, index in enumerate(known) if index is None or index not in self._maps]
        fresh = dict(zip(missing, self._raw(batch, missing, normalisation))) if missing else {}
        raw = torch.stack([fresh[i] if i in fresh else self._maps[index] for i, index in enumerate(known)])
        for i, index in enumerate(known):
            if index is not None and index not in self._maps and len(self._maps) < self.cache:
                # A copy: a view would keep the whole batch's maps alive.
                self._maps[index] = fresh[i].cpu().clone()
        return minmax(resize(raw.to(batch.image.device).relu(), tuple(batch.image.shape[-2:])))

    def _raw(self, batch: Batch, rows: list[int], normalisation: Normalisation) -> Tensor:
        images = batch.image[rows]
        if normalisation != self.normalisation:
            images = self.normalisation.to_input(normalisation.to_pixels(images))
        self._network.to(images.device)
        targets = self._targets(images, batch.label[rows])
        found = explain(self._network, images, [self.explainer], targets, head=self.head)
        return found[self.explainer.name].raw.cpu()

    def _targets(self, images: Tensor, labels: Tensor) -> Tensor | None:
        if self.target == "label":
            return labels
        if self.target == "predicted":
            return None
        with torch.no_grad():
            logits = as_logits(self._network(images))
        chosen = []
        for row, label in zip(logits, labels.tolist()):
            if label not in self.target:
                raise ValueError(
                    f"ReferenceMask(target=...) says nothing of class {label}: name its reference classes."
                )
            candidates = torch.tensor(self.target[label], device=logits.device)
            chosen.append(candidates[row[candidates].argmax()])
        return torch.stack(chosen)
