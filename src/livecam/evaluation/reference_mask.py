"""ReferenceMask: another network's map as ground truth, as the U-Net paper measures localization."""

from typing import Literal

import torch
from torch import Tensor, nn

from livecam.core.batch import Batch
from livecam.core.errors import OptionError
from livecam.core.heads import as_logits, get_head
from livecam.core.maps import minmax, resize
from livecam.core.normalization import IMAGENET, Normalization
from livecam.explain import Explainer, GradCAMPlusPlus, explain
from livecam.models import build_model
from livecam.training.checkpoint import load_classifier

_PIXELS = 61  # compared to tell images apart


class ReferenceMask:
    """Maps of a fixed network, which a metric thresholds.

    It is no module and part of none, so it is never in a checkpoint. Maps are cached by sample index at the layer's
    resolution, so a validation after the first costs nothing; a few pixels tell whether an index still means the same
    image, since every data set counts from 0.

    Args:
        model: Name of a network with ImageNet's classes (see :func:`livecam.models.build_model`).
        weights: Its published weights by name, or a local file.
        checkpoint: A checkpoint of ``train.py`` instead of ``model`` and ``weights``.
        num_classes: Outputs of ``model``.
        explainer: Method; the paper takes Grad-CAM++.
        target: Class explained in the reference network: the sample's own ``label``, the ``predicted`` class, or for
            each class of the data the reference's classes that mean it (the most probable of them is explained).
        head: Head of the reference network.
        normalization: What the reference network reads; ImageNet's for ``model``, its own for ``checkpoint``.
        cache: Most maps kept.

    Raises:
        OptionError: When neither or both of ``model`` and ``checkpoint`` are given, a ``model`` has no ``weights``, or
            ``target`` is none of the above.
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
        normalization: Normalization | None = None,
        cache: int = 50_000,
    ) -> None:
        if (model is None) == (checkpoint is None) or (model is None) != (weights is None):
            raise OptionError("ReferenceMask needs either model= with weights=, or checkpoint= alone.")
        named = isinstance(target, dict) and all(target.values())
        if not named and target not in ("label", "predicted"):
            raise OptionError(
                f"target={target!r}: take 'label', 'predicted', or the reference's classes for each class of the data, "
                "such as {0: [151, 152], 1: [269]}."
            )
        self._network: nn.Module
        if checkpoint is not None:
            self._network = load_classifier(checkpoint)
            num_classes = self._network.hparams.num_classes
            network_normalization = Normalization(self._network.hparams.mean, self._network.hparams.std)
            head = self._network.head.name if head == "auto" else head
        else:
            self._network, network_normalization = build_model(model, num_classes, weights).eval(), IMAGENET
        self._network.requires_grad_(False)
        self.num_classes = num_classes
        self.explainer = explainer or GradCAMPlusPlus()
        self.target = target
        self.head = head
        self.normalization = normalization or network_normalization
        self.cache = cache
        self._maps: dict[tuple[int, int], Tensor] = {}

    # Under inference mode, a network that moves to the images' device would become unfit for gradients.
    @torch.inference_mode(False)
    def masks(self, batch: Batch, normalization: Normalization) -> Tensor:
        """Reference maps of a batch.

        Args:
            batch: Images as model input; ``index`` makes their maps cacheable.
            normalization: What the batch was normalized with.

        Returns:
            ``(N, H, W)`` in [0, 1], scaled per sample.
        """
        keys = _keys(batch)
        missing = [i for i, key in enumerate(keys) if key not in self._maps]
        fresh = dict(zip(missing, self._raw(batch, missing, normalization))) if missing else {}
        raw = torch.stack([fresh[i] if i in fresh else self._maps[key] for i, key in enumerate(keys)])
        for i in missing:
            if keys[i] is not None and len(self._maps) < self.cache:
                # A copy: a view would keep the whole batch's maps alive.
                self._maps[keys[i]] = fresh[i].clone()
        return minmax(resize(raw.to(batch.image.device).relu(), tuple(batch.image.shape[-2:])))

    def _raw(self, batch: Batch, rows: list[int], normalization: Normalization) -> Tensor:
        images = batch.image[rows].float()
        if normalization != self.normalization:
            images = self.normalization.to_input(normalization.to_pixels(images))
        self._network.to(images.device)
        targets = self._targets(images, batch.label[rows])
        explanations = explain(self._network, images, [self.explainer], targets, head=self.head)
        return explanations[self.explainer.name].raw.cpu()

    def _targets(self, images: Tensor, labels: Tensor) -> Tensor | None:
        if self.target == "label":
            return labels
        if self.target == "predicted":
            return None
        with torch.no_grad():
            logits = as_logits(self._network(images))
        head = get_head(self.head, logits.shape[1])
        probabilities, chosen = head.probabilities(logits), []
        for row, label in zip(probabilities, labels.tolist()):
            if label not in self.target:
                raise OptionError(f"ReferenceMask(target=...) says nothing of class {label}: name its classes.")
            candidates = torch.tensor(self.target[label], device=logits.device)
            head.check_targets(candidates, logits)
            chosen.append(candidates[row[candidates].argmax()])
        return torch.stack(chosen)


def _keys(batch: Batch) -> list[tuple[int, int] | None]:
    """What each map is cached under: index, and hash of the class and some pixels; None without an index."""
    if batch.index is None:
        return [None] * len(batch)
    pixels = batch.image.flatten(1)
    sampled = pixels[:, :: max(1, pixels.shape[1] // _PIXELS)].float().cpu().numpy()
    labels = batch.label.tolist()
    return [
        (index, hash((str(label), row.tobytes()))) for index, label, row in zip(batch.index.tolist(), labels, sampled)
    ]
