"""Scores of explanations, as torchmetrics."""

from livecam.metrics.image_metric import ImageMetric
from livecam.metrics.localization import (
    EnergyInMask,
    LocalizationScore,
    ReferenceLocalizationScore,
    localization_score,
    object_mask,
)
from livecam.metrics.sharpness import Sharpness

__all__ = [
    "EnergyInMask",
    "ImageMetric",
    "LocalizationScore",
    "ReferenceLocalizationScore",
    "Sharpness",
    "localization_score",
    "object_mask",
]
