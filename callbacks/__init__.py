"""Lightning callbacks that explain a classifier while it trains."""

from livecam.callbacks.data_wait_monitor import LoaderWatch
from livecam.callbacks.explanation_gallery import ExplanationGallery
from livecam.callbacks.explanation_scores import ExplanationScores
from livecam.callbacks.feature_map_gallery import FeatureMapGallery
from livecam.callbacks.resume import LastCheckpoint, Resumption

__all__ = [
    "ExplanationGallery",
    "ExplanationScores",
    "FeatureMapGallery",
    "LastCheckpoint",
    "LoaderWatch",
    "Resumption",
]
