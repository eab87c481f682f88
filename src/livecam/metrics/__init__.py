"""Scores of explanations, as torchmetrics."""

from livecam.metrics.confidence import ConfidenceChange
from livecam.metrics.image_metric import ImageMetric
from livecam.metrics.insertion_deletion import InsertionDeletion
from livecam.metrics.localization import (
    EnergyInMask,
    LocalizationScore,
    ReferenceLocalizationScore,
    localization_score,
    object_mask,
)
from livecam.metrics.overlap import MaskOverlap
from livecam.metrics.pointing import PointingGame
from livecam.metrics.randomization import Randomization
from livecam.metrics.reclassification import Reclassification
from livecam.metrics.sharpness import Sharpness

__all__ = [
    "ConfidenceChange",
    "EnergyInMask",
    "ImageMetric",
    "InsertionDeletion",
    "LocalizationScore",
    "MaskOverlap",
    "PointingGame",
    "Randomization",
    "Reclassification",
    "ReferenceLocalizationScore",
    "Sharpness",
    "localization_score",
    "object_mask",
]
