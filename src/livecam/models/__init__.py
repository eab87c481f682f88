"""Networks to train and explain: U-Nets with a GAP head, and the classifiers of torchvision and timm."""

from livecam.models.build import build_model
from livecam.models.skip_ablation import sliced_state
from livecam.models.smp_unet import SmpUNet
from livecam.models.unet import ClassicUNet
from livecam.models.weights import frozen_modules

__all__ = ["ClassicUNet", "SmpUNet", "build_model", "frozen_modules", "sliced_state"]
