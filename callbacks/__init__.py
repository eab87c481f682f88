"""Lightning callbacks that explain a classifier while it trains."""

from livecam.callbacks.feature_maps import FeatureMapGallery
from livecam.callbacks.gallery import ExplanationGallery
from livecam.callbacks.last_checkpoint import LastCheckpoint
from livecam.callbacks.loader_watch import LoaderWatch
from livecam.callbacks.resumption import Resumption
from livecam.callbacks.scores import ExplanationScores

__all__ = [
    "ExplanationGallery",
    "ExplanationScores",
    "FeatureMapGallery",
    "LastCheckpoint",
    "LoaderWatch",
    "Resumption",
]
