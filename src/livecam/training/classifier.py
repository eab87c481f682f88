"""The LightningModule that trains a classifier; it knows nothing of explanations."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import Accuracy, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    MultilabelAveragePrecision,
    MultilabelPrecision,
    MultilabelRecall,
)

from livecam.core.batch import read_batch
from livecam.core.errors import OptionError
from livecam.core.heads import as_logits, get_head
from livecam.core.validation import check_option
from livecam.models import build_model, frozen_modules
from livecam.runtime.fsdp import broadcast_buffers, shard


class Classifier(LightningModule):
    """An image classifier with softmax, one-logit or multi-label head.

    Every argument is a plain value, so that checkpoints load with ``weights_only=True`` and say all that is needed to
    preprocess a photo as training did.

    Args:
        model: Name of the network: ``unet``, ``unet/<encoder>``, ``torchvision/<name>`` or ``timm/<name>``.
        num_classes: Number of classes; a binary head has two classes and one output.
        head: ``softmax``, ``binary`` or ``multilabel``.
        weights: None, a name of published weights, or a local file (see :func:`livecam.models.build_model`).
        model_args: Further arguments of the network, such as ``{"skips": "drop"}``.
        freeze_backbone: Train the classification layer only.
        optimizer: ``adamw`` or ``sgd``.
        lr: Peak learning rate.
        weight_decay: Decay of weight matrices and kernels; biases and norms are not decayed.
        momentum: Momentum of SGD.
        warmup: Share of all steps over which the learning rate rises linearly; it falls as a half cosine after.
        label_smoothing: In [0, 1).
        channels_last: Keep convolutions' data as (N, H, W, C) in memory: same results up to rounding, often faster.
        class_names: Names in the order of class indices.
        image_size: Side of the images in pixels; kept for ``explain.py``.
        mean: Channel means of the normalization; kept for ``explain.py``.
        std: Channel standard deviations; kept for ``explain.py``.
        resize: How photos are brought to ``image_size``; kept for ``explain.py``.

    Raises:
        OptionError: When a name is unknown or an argument out of range.
    """

    def __init__(
        self,
        model: str = "unet",
        num_classes: int = 2,
        head: str = "softmax",
        weights: str | None = None,
        model_args: dict[str, Any] | None = None,
        freeze_backbone: bool = False,
        optimizer: str = "adamw",
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        momentum: float = 0.9,
        warmup: float = 0.1,
        label_smoothing: float = 0.0,
        channels_last: bool = False,
        class_names: Sequence[str] | None = None,
        image_size: int = 224,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        resize: str = "crop",
    ) -> None:
        super().__init__()
        class_names, mean, std = (list(value) if value is not None else None for value in (class_names, mean, std))
        self.save_hyperparameters()
        check_option("optimizer", optimizer, ("adamw", "sgd"))
        if not 0 <= warmup <= 1:
            raise OptionError(f"warmup is a share of all steps, 0 to 1, got {warmup}.")
        if not 0 <= label_smoothing < 1:
            raise OptionError(f"label_smoothing is in [0, 1), got {label_smoothing}.")
        if head == "binary" and num_classes != 2:
            raise OptionError(f"A binary head has two classes, but there are {num_classes}: use head=softmax.")
        if class_names is not None and len(class_names) != num_classes:
            raise OptionError(f"{len(class_names)} class names were given for {num_classes} classes.")
        self.head = get_head(head)
        outputs = 1 if head == "binary" else num_classes
        self.net = build_model(model, outputs, weights, freeze_backbone=freeze_backbone, **(model_args or {}))
        if channels_last:
            self.net.to(memory_format=torch.channels_last)
        metrics = _metrics(head, num_classes)
        self.train_metrics = metrics.clone(prefix="train/")
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")

    def configure_model(self) -> None:
        """Spread the network over the devices of a ``ModelParallelStrategy``; other strategies need nothing.

        Raises:
            OptionError: When the strategy would also divide single layers, which these networks have no plan for.
        """
        mesh = self.device_mesh
        if mesh is None:
            return
        if mesh["tensor_parallel"].size() > 1:
            raise OptionError(
                "A Classifier is spread by data only: set the strategy's data_parallel_size to the number of devices "
                "of all nodes, and its tensor_parallel_size to 1."
            )
        shard(self.net, mesh["data_parallel"])

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, K)`` of model input ``(N, 3, H, W)``; K is 1 for a binary head."""
        if self.hparams.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return as_logits(self.net(images))

    def train(self, mode: bool = True) -> "Classifier":
        """Switch the mode; a frozen backbone stays in eval mode, or its batch norms would drift."""
        super().train(mode)
        if mode and self.hparams.freeze_backbone:
            for module in frozen_modules(self.net):
                module.eval()
        return self

    def on_train_start(self) -> None:
        """Apply :meth:`train`, which Lightning does not call: it takes modules in the mode they come in."""
        self.train()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        return self._step(batch, "train", self.train_metrics)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the learning rate of the step to come."""
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def on_validation_start(self) -> None:
        """Validate one network on all ranks, and explain the one that is saved."""
        broadcast_buffers(self.net)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Accumulate loss and metrics."""
        self._step(batch, "val", self.val_metrics)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Accumulate loss and metrics."""
        self._step(batch, "test", self.test_metrics)

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Predicted class ``(N,)`` and probabilities ``(N, num_classes)`` of a batch, or of bare images."""
        images = batch if isinstance(batch, Tensor) else read_batch(batch).image
        logits = self(images)
        return {"prediction": self.head.predict(logits), "probabilities": self.head.probabilities(logits)}

    def _step(self, batch: Any, stage: str, metrics: MetricCollection) -> Tensor:
        batch = read_batch(batch)
        logits = self(batch.image)
        loss = self.head.loss(logits, batch.label, self.hparams.label_smoothing if stage == "train" else 0.0)
        # One logit is read as P(class 1); the others as (N, K).
        scores = logits[:, 0].sigmoid() if self.head.name == "binary" else self.head.probabilities(logits)
        metrics.update(scores.detach().float(), batch.label.long())
        size = len(batch)
        self.log(
            f"{stage}/loss", loss, prog_bar=True, batch_size=size, on_epoch=stage != "train", sync_dist=stage != "train"
        )
        self.log_dict(metrics, prog_bar=stage != "train", batch_size=size, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW or SGD under linear warm-up and half-cosine decay, stepped per batch."""
        settings = self.hparams
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if settings.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=settings.lr)
        else:
            optimizer = torch.optim.SGD(
                groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0
            )
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise OptionError("The learning rate falls until training ends: set trainer.max_epochs or max_steps.")
        total = max(1, int(steps))
        warmup = max(1, round(settings.warmup * total))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _metrics(head: str, num_classes: int) -> MetricCollection:
    if head == "binary":
        return MetricCollection({"accuracy": BinaryAccuracy(), "auroc": BinaryAUROC()})
    if head == "multilabel":
        return MetricCollection(
            {
                "average_precision": MeanAveragePrecision(num_classes),
                "precision": MultilabelPrecision(num_classes, average="micro"),
                "recall": MultilabelRecall(num_classes, average="micro"),
            }
        )
    metrics: dict[str, nn.Module] = {"accuracy": Accuracy("multiclass", num_classes=num_classes, average="micro")}
    if num_classes > 5:
        metrics["accuracy_top5"] = Accuracy("multiclass", num_classes=num_classes, average="micro", top_k=5)
    return MetricCollection(metrics)


class MeanAveragePrecision(MultilabelAveragePrecision):
    """Mean over the classes that occur; torchmetrics counts those that do not as failures, with 0.

    Args:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        # Counts at fixed thresholds have the same size for any number of images. They lie close in logits, because
        # probabilities of rare classes are all near 0, where equal steps would tell none of them apart.
        super().__init__(num_classes, average="none", thresholds=torch.linspace(-12, 12, 401).sigmoid())

    def compute(self) -> Tensor:
        """NaN where no class occurs."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No positive samples")
            per_class = super().compute()
        occurs = self.confmat[0, :, 1].sum(-1) > 0
        return per_class[occurs].mean()
