"""The papers' settings by name: ``s1`` to ``s5``, each a list of explainers that live side by side.

Layer names are those of the papers' networks; on other networks name a layer of your own with the classes themselves.
"""

from livecam.explain.explainer import Explainer
from livecam.explain.methods.cam import GradCAM, GradCAMPlusPlus, WGradCAM
from livecam.explain.methods.excitation_backprop.explainers import ContrastiveExcitationBackprop
from livecam.explain.methods.gradients import Saliency
from livecam.explain.methods.gradual_extrapolation import GradualExtrapolation
from livecam.explain.methods.mask_optimization.aop import AOP, SIGCAM
from livecam.explain.methods.mask_optimization.emp import EMP
from livecam.explain.methods.mask_optimization.igos import IGOS
from livecam.explain.methods.occlusion import Occlusion
from livecam.explain.methods.score_cam import ScoreCAM
from livecam.explain.methods.smooth_grad_cam import SmoothGradCAMPlusPlus
from livecam.explain.registry import PRESETS


def gradual_extrapolation_paper() -> list[Explainer]:
    """S1 (Szandala 2021): Grad-CAM at VGG-16's last convolution, sharpened as the text says and as the code does.

    Contrastive Excitation Backprop is read, contrasted and sharpened at relu4_1, as the code does.
    """
    base = GradCAM(layer="features.28", name="s1_gradcam")
    top_down = ContrastiveExcitationBackprop("features.18", contrast_layer="features.18", name="s1_contrastive_eb")
    return [
        base,
        GradualExtrapolation(base, name="s1_gradual"),
        GradualExtrapolation(base, layers="reference", name="s1_gradual_reference"),
        top_down,
        GradualExtrapolation(top_down, name="s1_gradual_contrastive_eb"),
    ]


def smooth_grad_cam_paper() -> list[Explainer]:
    """S2 (Omeiza et al. 2019), section 3.7: five noisy images; the layer, one feature map of it, neurons of that map.

    The neurons are those of a 14 x 14 layer, as VGG-16 has at 224 px.
    """
    noise = {"num_samples": 5, "std": 0.3}
    return [
        SmoothGradCAMPlusPlus(**noise, name="s2_layer"),
        SmoothGradCAMPlusPlus(**noise, filters=(0,), name="s2_map"),
        SmoothGradCAMPlusPlus(**noise, filters=(0,), region=True, subset=((0, 10), (12, 12)), name="s2_neurons"),
    ]


def optimized_activation_paper() -> list[Explainer]:
    """S3 (Zhang, Rao & Yang), the methods of Table 1 in its order: four of one stage, three of AOP.

    At the last layer before global pooling, as the paper has it, which every network has. Table 2 compares Grad-CAM++
    and XRAI as well: ``s3,gradcam_pp,xrai``.
    """
    base, emp, igos = GradCAM(name="s3_gradcam"), EMP(name="s3_emp"), IGOS(name="s3_igos")
    return [
        base,
        WGradCAM(name="s3_wgradcam"),
        emp,
        igos,
        AOP(base, emp, name="s3_emp_gradcam"),
        AOP(base, igos, name="s3_igos_gradcam"),
        SIGCAM(WGradCAM(name="s3_wgradcam"), igos, name="s3_sigcam"),
    ]


def high_resolution_paper() -> list[Explainer]:
    """S4 (Mascolini et al. 2022): Grad-CAM, Grad-CAM++ and Score-CAM with its logit difference; Score-CAM's own beside.

    The paper's 16 x 16 maps of VGG-16 imply images of 256 px.
    """
    return [
        GradCAM(name="s4_gradcam"),
        GradCAMPlusPlus(name="s4_gradcam_pp"),
        ScoreCAM(weighting="logit_diff", name="s4_scorecam_logit_diff"),
        ScoreCAM(name="s4_scorecam_softmax_logit"),
    ]


def student_report() -> list[Explainer]:
    """S5 (Midha and Garg): saliency, and occlusion by windows of (size, stride) (10, 10) and (10, 5).

    The report draws the probability under the windows, low where it matters (``show="probability"``); here the drop is
    drawn, so that colors mean evidence in every column.
    """
    return [
        Saliency(name="s5_saliency"),
        Occlusion(10, 10, name="s5_occlusion_stride10"),
        Occlusion(10, 5, name="s5_occlusion_stride5"),
    ]


PRESETS |= {
    "s1": gradual_extrapolation_paper,
    "s2": smooth_grad_cam_paper,
    "s3": optimized_activation_paper,
    "s4": high_resolution_paper,
    "s5": student_report,
}
