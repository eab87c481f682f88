"""Visual explanations of image classifiers in pure torch."""

from livecam.explain.cam import CAM, GradCAM, GradCAMPlusPlus, LayerCAM, WGradCAM, XGradCAM
from livecam.explain.explainer import Explainer
from livecam.explain.explanation import Explanation, explain
from livecam.explain.hooks import Capture
from livecam.explain.names import by_name, methods
from livecam.explain.recording import Recording, record
from livecam.explain.structure import Structure, structure_of

__all__ = [
    "CAM",
    "Capture",
    "Explainer",
    "Explanation",
    "GradCAM",
    "GradCAMPlusPlus",
    "LayerCAM",
    "Recording",
    "Structure",
    "WGradCAM",
    "XGradCAM",
    "by_name",
    "explain",
    "methods",
    "record",
    "structure_of",
]
