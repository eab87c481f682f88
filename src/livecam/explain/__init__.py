"""Visual explanations of image classifiers in pure torch."""

from livecam.explain.aop import AOP, SIGCAM
from livecam.explain.baselines import CentredGaussian, Uniform
from livecam.explain.cam import CAM, GradCAM, LayerCAM, WGradCAM, XGradCAM
from livecam.explain.captum import CaptumExplainer
from livecam.explain.emp import EMP
from livecam.explain.excitation import ContrastiveExcitationBackprop, ExcitationBackprop
from livecam.explain.explainer import Explainer
from livecam.explain.explanation import Explanation, explain
from livecam.explain.grad_cam_pp import GradCAMPlusPlus
from livecam.explain.gradients import InputXGradient, IntegratedGradients, Saliency, SmoothGrad, VarGrad
from livecam.explain.gradual import GradualExtrapolation, extrapolate_map
from livecam.explain.hooks import Capture
from livecam.explain.igos import IGOS
from livecam.explain.mask_optimiser import MaskOptimiser
from livecam.explain.names import by_name, by_names, methods
from livecam.explain.occlusion import Occlusion
from livecam.explain.recording import Recording, record
from livecam.explain.rectifiers import Deconvnet, GuidedBackprop
from livecam.explain.rise import RISE
from livecam.explain.score_cam import ScoreCAM
from livecam.explain.smooth_grad_cam import SmoothGradCAMPlusPlus
from livecam.explain.structure import Structure, structure_of
from livecam.explain.xrai import XRAI

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
    "CentredGaussian",
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
    "MaskOptimiser",
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
    "extrapolate_map",
    "methods",
    "record",
    "structure_of",
]
