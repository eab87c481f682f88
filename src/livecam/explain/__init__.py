"""Visual explanations of image classifiers in pure torch."""

# Enters the papers' settings by name.
import livecam.explain.presets  # noqa: F401
from livecam.explain.explainer import Explainer
from livecam.explain.explanation import Explanation, explain
from livecam.explain.methods.cam import CAM, GradCAM, GradCAMPlusPlus, LayerCAM, WGradCAM, XGradCAM
from livecam.explain.methods.captum import CaptumExplainer
from livecam.explain.methods.controls import CenteredGaussian, Uniform
from livecam.explain.methods.excitation_backprop.explainers import ContrastiveExcitationBackprop, ExcitationBackprop
from livecam.explain.methods.gradients import InputXGradient, IntegratedGradients, Saliency, SmoothGrad, VarGrad
from livecam.explain.methods.gradual_extrapolation import GradualExtrapolation, extrapolate_map
from livecam.explain.methods.guided_backprop import Deconvnet, GuidedBackprop
from livecam.explain.methods.mask_optimization.aop import AOP, SIGCAM
from livecam.explain.methods.mask_optimization.base import MaskOptimizer
from livecam.explain.methods.mask_optimization.emp import EMP
from livecam.explain.methods.mask_optimization.igos import IGOS
from livecam.explain.methods.occlusion import Occlusion
from livecam.explain.methods.rise import RISE
from livecam.explain.methods.score_cam import ScoreCAM
from livecam.explain.methods.smooth_grad_cam import SmoothGradCAMPlusPlus
from livecam.explain.methods.xrai import XRAI
from livecam.explain.recording.hooks import Capture
from livecam.explain.recording.network_structure import Structure, structure_of
from livecam.explain.recording.recording import Recording, record
from livecam.explain.registry import by_name, by_names, explainer_classes

__all__ = [
    "AOP",
    "CAM",
    "EMP",
    "IGOS",
    "RISE",
    "SIGCAM",
    "XRAI",
    "CaptumExplainer",
    "Capture",
    "CenteredGaussian",
    "ContrastiveExcitationBackprop",
    "Deconvnet",
    "ExcitationBackprop",
    "Explainer",
    "Explanation",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradualExtrapolation",
    "GuidedBackprop",
    "InputXGradient",
    "IntegratedGradients",
    "LayerCAM",
    "MaskOptimizer",
    "Occlusion",
    "Recording",
    "Saliency",
    "ScoreCAM",
    "SmoothGrad",
    "SmoothGradCAMPlusPlus",
    "Structure",
    "Uniform",
    "VarGrad",
    "WGradCAM",
    "XGradCAM",
    "by_name",
    "by_names",
    "explain",
    "explainer_classes",
    "extrapolate_map",
    "record",
    "structure_of",
]
