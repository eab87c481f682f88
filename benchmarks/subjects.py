"""What is explained: networks of random weights, seeded images and the classes that the networks answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from livecam.explain import structure_of
from livecam.models import build_model
from livecam.runtime.memory import auto_batch_size

NETS = {
    "resnet18": "torchvision/resnet18",
    "resnet50": "torchvision/resnet50",
    "vgg16": "torchvision/vgg16",
    "mobilenet_v2": "torchvision/mobilenet_v2",
    "unet": "unet",
}
# Of VGG16 the output of its last max pool; of U-Nets what livecam reads by itself, their full resolution.
LAYERS = {"resnet18": "layer4", "resnet50": "layer4", "vgg16": "features", "mobilenet_v2": "features"}
CLASSES = 100
# Random weights give logits that are nearly alike; with this spread over the classes answers depend on what is shown,
# and none is certain.
SPREAD = 3.0


@dataclass(frozen=True, eq=False)
class Subject:
    """One network and one batch.

    Args:
        net: In evaluation mode, its parameters asking for gradients as in training.
        images: ``(N, 3, S, S)``.
        targets: LongTensor ``(N,)``, the predicted classes.
        layer: Name of the layer that activation methods read.
        linear: Name of the last linear layer.
        pooled: Whether the head is global average pooling and one linear layer, which CAM needs.
        channels: Number of the layer's channels.
        precision: ``fp32`` or ``bf16``, in which everybody runs it.
    """

    net: nn.Module
    images: Tensor
    targets: Tensor
    layer: str
    linear: str
    pooled: bool
    channels: int
    precision: str = "fp32"

    @property
    def internal_batch_size(self) -> int:
        """How many images bare passes and peers are given at a time: as many as livecam takes by itself."""
        return auto_batch_size(self.net, self.images, precision="bf16" if self.precision == "bf16" else "full")

    @property
    def classes(self) -> Sequence[int]:
        """The targets as torchcam and pytorch_grad_cam take them."""
        return self.targets.tolist()


def subject(
    name: str, batch: int, size: int, *, dtype: torch.dtype = torch.float32, device: str = "cpu", **options: int
) -> Subject:
    """Build a network of :data:`NETS` and its images.

    Args:
        name: Which network.
        batch: Number of images N.
        size: Height and width S of the images in pixels.
        dtype: Of the network and the images.
        device: Where both live.
        **options: Arguments of the network, such as a U-Net's ``width``.
    """
    net, linear = _network(name, dtype, device, **options)
    images = _noise(batch, size).to(device, dtype)
    structure = structure_of(net, images)
    layer = LAYERS.get(name) or structure.resolve(None)
    widths: list[int] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda module, args, output: widths.append(output.shape[1]))
    with torch.inference_mode():
        targets = net(images).argmax(1)
    handle.remove()
    return Subject(net, images, targets.clone(), layer, linear, structure.linear is not None, widths[0])


def _noise(batch: int, size: int) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


@cache
def _network(name: str, dtype: torch.dtype, device: str, **options: int) -> tuple[nn.Module, str]:
    """The same weights whatever the type, and the name of the last linear layer; kept, since nobody changes it."""
    torch.manual_seed(0)
    net = _calibrated(build_model(NETS[name], CLASSES, **options))
    linear = [path for path, module in net.named_modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        net.get_submodule(linear).weight.mul_(SPREAD / net(_noise(1, 64)).std())
    return net.to(device, dtype), linear


def _calibrated(net: nn.Module) -> nn.Module:
    """With the statistics of a batch in its batch norms, as training leaves them.

    Untrained, MobileNetV2's activations are so faint that libraries show their epsilons instead.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(_noise(8, 64))
    return net.eval()
