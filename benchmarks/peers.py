"""How torchcam, pytorch_grad_cam and captum are asked, each in the cheapest way that its documentation shows.

Extractors are built inside what is timed, because their hooks would fire in everybody else's passes; all are given the
layer by name, so that none looks for it. Maps come back as the library delivers them, enlarged to the image or not.
"""

from contextlib import ExitStack, nullcontext, redirect_stderr
from io import StringIO
from typing import Any

import captum.attr
import pytorch_grad_cam
import torch
import torchcam.methods
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from subjects import Subject
from torch import Tensor, nn
from torchcam.metrics import DeletionInsertionMetric

from livecam.core.baselines import baseline_images
from livecam.core.maps import minmax, resize


def shown(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps ``(N, h, w)`` as people see them, whatever scale and size a library gives them: ``(N, H, W)`` in [0, 1]."""
    return minmax(resize(maps.relu(), size))


def torchcam_map(subject: Subject, method: str, **options: Any) -> Tensor:
    """One method of torchcam: raw ``(N, h, w)``, since its min-max adds a constant."""
    forward_only = method in ("CAM", "ScoreCAM")
    with (
        torch.inference_mode(forward_only),
        getattr(torchcam.methods, method)(subject.net, subject.layer, **options) as extractor,
    ):
        return extractor(subject.classes, subject.net(subject.images), normalized=False)[0].detach().clone()


def torchcam_maps(subject: Subject, methods: list[str]) -> list[Tensor]:
    """Several methods of torchcam, which can share a forward and then take a backward each."""
    with ExitStack() as opened:
        extractors = []
        for method in methods:
            options = {"fc_layer": subject.linear} if method == "CAM" else {}
            extractors.append(
                opened.enter_context(getattr(torchcam.methods, method)(subject.net, subject.layer, **options))
            )
        scores = subject.net(subject.images)
        kept = [{} if method == "CAM" else {"retain_graph": True} for method in methods]
        return [
            extractor(subject.classes, scores, normalized=False, **options)[0].detach()
            for extractor, options in zip(extractors, kept)
        ]


def grad_cam_map(subject: Subject, method: str) -> Tensor:
    """One method of pytorch_grad_cam: ``(N, H, W)`` in [0, 1]; it hands over numpy arrays."""
    layers = [subject.net.get_submodule(subject.layer)]
    # Its bar would stand between the lines of the command.
    with getattr(pytorch_grad_cam, method)(subject.net, layers) as extractor, redirect_stderr(StringIO()):
        extractor.batch_size = subject.internal_batch_size
        targets = [ClassifierOutputTarget(target) for target in subject.classes]
        return torch.from_numpy(extractor(subject.images, targets)).to(subject.images.device)


def captum_grad_cam(subject: Subject) -> Tensor:
    """Grad-CAM of captum: raw ``(N, h, w)``."""
    found = captum.attr.LayerGradCam(subject.net, subject.net.get_submodule(subject.layer))
    return found.attribute(subject.images, subject.targets, relu_attributions=True)[:, 0].detach()


def captum_occlusion(subject: Subject, window: int) -> Tensor:
    """Occlusion of captum: ``(N, H, W)`` drops of the probability, windows side by side."""
    tall = (3, window, window)
    with torch.no_grad():
        found = captum.attr.Occlusion(lambda images: subject.net(images).softmax(1)).attribute(
            subject.images,
            tall,
            tall,
            target=subject.targets,
            perturbations_per_eval=max(1, subject.internal_batch_size // len(subject.images)),
        )
    return found[:, 0]


def captum_integrated_gradients(subject: Subject, steps: int) -> Tensor:
    """Integrated gradients of captum at midpoints: ``(N, 3, H, W)``."""
    found = captum.attr.IntegratedGradients(subject.net).attribute(
        subject.images,
        target=subject.targets,
        n_steps=steps,
        method="riemann_middle",
        internal_batch_size=subject.internal_batch_size,
    )
    return found.detach()


class _Given:
    """torchcam's interface of an extractor, around maps that are there already."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> nullcontext:
        return nullcontext()


def torchcam_areas(subject: Subject, maps: Tensor, steps: int) -> Tensor:
    """Mean areas under torchcam's deletion and insertion curves of given maps, ``(2,)``."""
    metric = DeletionInsertionMetric(
        _Given(subject.net, maps),
        lambda logits: logits.softmax(1),
        steps=steps,
        baseline=lambda images: baseline_images(images, "blur51"),
        batch_size=subject.internal_batch_size,
    )
    metric.update(subject.images, subject.classes)
    found = metric.summary()
    return torch.tensor([found["deletion_auc"], found["insertion_auc"]])
