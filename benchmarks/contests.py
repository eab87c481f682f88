"""Which implementations of a method run against each other, and the bare passes that are the unit of their ratios."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import peers
import torch
from peers import shown
from subjects import Subject
from torch import Tensor

from livecam.explain import (
    CAM,
    IGOS,
    RISE,
    Explainer,
    GradCAM,
    GradCAMPlusPlus,
    IntegratedGradients,
    LayerCAM,
    Occlusion,
    ScoreCAM,
    SmoothGradCAMPlusPlus,
    WGradCAM,
    XGradCAM,
    explain,
)
from livecam.metrics.insertion_deletion import InsertionDeletion

MASKS, STEPS, NOISY = 64, 16, 4
WINDOWS = 8
CUBED = "its GradCAMpp weighs by the cubed gradient (known bug)"
EPSILON = "its epsilon of 1e-6 drowns g² (known bug)"
STIRRED = "its SmoothGradCAMpp takes activations of a noisy image and other noise (known bug)"


@dataclass(frozen=True)
class Peer:
    """Another library's implementation.

    Args:
        library: Its name.
        run: Runs it; gives what it found.
        like: Gives livecam's in that library's convention, to be equal; None where no agreement is claimed.
        why: Why none is claimed.
    """

    library: str
    run: Callable[[], Tensor]
    like: Callable[[], Tensor] | None = None
    why: str = ""


@dataclass(frozen=True)
class Contest:
    """One method on one subject.

    Args:
        ours: Runs livecam.
        peers: Everybody else.
        bare: Runs the passes that nobody can do without.
        forwards: Forwards among them, per image of the batch.
        gradients: Forwards and backwards to the pixels among them, per image.
        comparable: Makes what two implementations found comparable.
        prepare: Finds out what is bare, where that is known afterwards only.
    """

    ours: Callable[[], Tensor]
    peers: Sequence[Peer]
    bare: Callable[[], None]
    forwards: int
    gradients: int = 0
    comparable: Callable[[Tensor], Tensor] = lambda found: found
    prepare: Callable[[], object] = lambda: None


def precise(precision: str, device: str) -> Any:
    """The context in which bare passes and peers run."""
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()


def passes(subject: Subject, forwards: int, gradients: int = 0) -> None:
    """So many forwards, and forwards and backwards, of every image, in full chunks or as one batch."""
    images = subject.images
    internal_batch_size = subject.internal_batch_size
    if forwards > 1:
        images = images[torch.arange(internal_batch_size) % len(images)]
    with torch.inference_mode():
        for start in range(0, forwards * len(subject.images), len(images)):
            subject.net(images[: forwards * len(subject.images) - start])
    for start in range(0, gradients * len(subject.images), internal_batch_size):
        count = min(internal_batch_size, gradients * len(subject.images) - start)
        leaf = subject.images[torch.arange(count) % len(subject.images)].requires_grad_(True)
        torch.autograd.grad(subject.net(leaf)[:, 0].float().sum(), leaf)


def found(subject: Subject, precision: str, explainers: Sequence[Explainer], key: str | None = None) -> Tensor:
    """Raw maps of all explainers, one under the other, or one of their details; bf16 where a method offers it."""
    if precision == "bf16":
        explainers = [replace(each, precision="bf16") if hasattr(each, "precision") else each for each in explainers]
    explained = explain(subject.net, subject.images, explainers, subject.targets)
    return torch.cat([each.details[key] if key else each.raw for each in explained.values()])


def family(subject: Subject) -> list[Explainer]:
    """The activation family as far as the network has it: CAM needs a head of pooling and one linear layer."""
    plain = (GradCAM, GradCAMPlusPlus, XGradCAM, LayerCAM, WGradCAM)
    return [each(subject.layer) for each in ((CAM, *plain) if subject.pooled else plain)]


def contest(method: str, subject: Subject, precision: str = "fp32") -> Contest:
    """Set up a method of :data:`METHODS`.

    Args:
        method: Its name.
        subject: The network and the batch.
        precision: ``fp32`` or ``bf16``: networks under autocast.
    """
    subject = replace(subject, precision=precision)
    return METHODS[method](subject, partial(found, subject, precision))


def _of_maps(subject: Subject, ours: Callable[[], Tensor], others: list[Peer], forwards: int) -> Contest:
    size = tuple(subject.images.shape[-2:])
    return Contest(ours, others, partial(passes, subject, forwards), forwards, comparable=partial(shown, size=size))


def _gradcam(subject: Subject, ours: Callable) -> Contest:
    run = partial(ours, [GradCAM(subject.layer)])
    others = [
        Peer("torchcam", partial(peers.torchcam_map, subject, "GradCAM"), run),
        Peer("grad-cam", partial(peers.grad_cam_map, subject, "GradCAM"), run),
        Peer("captum", partial(peers.captum_grad_cam, subject), run),
    ]
    return _of_maps(subject, run, others, 1)


def _gradcam_pp(subject: Subject, ours: Callable) -> Contest:
    others = [
        Peer("torchcam", partial(peers.torchcam_map, subject, "GradCAMpp"), why=CUBED),
        Peer("grad-cam", partial(peers.grad_cam_map, subject, "GradCAMPlusPlus"), why=EPSILON),
    ]
    return _of_maps(subject, partial(ours, [GradCAMPlusPlus(subject.layer)]), others, 1)


def _family(subject: Subject, ours: Callable) -> Contest:
    cams = ["CAM"] if subject.pooled else []

    def torchcams() -> Tensor:
        maps = peers.torchcam_maps(subject, [*cams, "GradCAM", "XGradCAM", "LayerCAM", "GradCAMpp"])
        return torch.cat(maps[:-1])

    def grad_cams() -> Tensor:
        peers.grad_cam_map(subject, "GradCAMPlusPlus")
        return torch.cat([peers.grad_cam_map(subject, name) for name in ("GradCAM", "XGradCAM", "LayerCAM")])

    plain = [each(subject.layer) for each in (GradCAM, XGradCAM, LayerCAM)]
    first = [CAM(subject.layer)] if subject.pooled else []
    others = [
        Peer("torchcam", torchcams, partial(ours, [*first, *plain])),
        Peer("grad-cam", grad_cams, partial(ours, plain)),
    ]
    return _of_maps(subject, partial(ours, family(subject)), others, 1)


def _scorecam(subject: Subject, ours: Callable) -> Contest:
    def run(**convention: Any) -> Tensor:
        return ours([ScoreCAM(subject.layer, **convention)])

    others = [
        Peer(
            "torchcam",
            partial(peers.torchcam_map, subject, "ScoreCAM", batch_size=subject.internal_batch_size),
            partial(run, mask_order="scale_first"),
        ),
        Peer("grad-cam", partial(peers.grad_cam_map, subject, "ScoreCAM"), partial(run, align_corners=True)),
    ]
    return _of_maps(subject, run, others, subject.channels)


def _smooth(subject: Subject, ours: Callable) -> Contest:
    # Backwards end at the layer, and so cost no more than the head does.
    run = partial(ours, [SmoothGradCAMPlusPlus(subject.layer, num_samples=NOISY)])
    theirs = partial(peers.torchcam_map, subject, "SmoothGradCAMpp", num_samples=NOISY)
    return _of_maps(subject, run, [Peer("torchcam", theirs, why=STIRRED)], 1 + NOISY)


def _occlusion(subject: Subject, ours: Callable) -> Contest:
    window = subject.images.shape[-1] // WINDOWS
    run = partial(ours, [Occlusion(window, window)])
    others = [Peer("captum", partial(peers.captum_occlusion, subject, window), run)]
    forwards = 1 + WINDOWS**2
    return Contest(run, others, partial(passes, subject, forwards), forwards)


def _rise(subject: Subject, ours: Callable) -> Contest:
    forwards = 1 + MASKS
    return Contest(partial(ours, [RISE(MASKS)]), [], partial(passes, subject, forwards), forwards)


def _integrated_gradients(subject: Subject, ours: Callable) -> Contest:
    run = partial(ours, [IntegratedGradients(STEPS)], key="attribution")
    others = [Peer("captum", partial(peers.captum_integrated_gradients, subject, STEPS), run)]
    # The image and the baseline are asked too, for the convergence delta.
    return Contest(run, others, partial(passes, subject, 2, STEPS), 2, STEPS)


def _insertion_deletion(subject: Subject, ours: Callable) -> Contest:
    count, _, height, width = subject.images.shape
    # Steps that divide the image, since areas are counted otherwise where the last step is a shorter one.
    steps = height // 2
    orders = [torch.randperm(height * width, generator=torch.Generator().manual_seed(i)) for i in range(count)]
    maps = torch.stack(orders).view(count, height, width).to(subject.images) / (height * width)
    metric = InsertionDeletion(step=height * width // steps)
    if hasattr(metric, "precision") and ours.args[1] == "bf16":
        metric.precision = "bf16"

    def run() -> Tensor:
        _, insertion, deletion, _ = metric.per_image(subject.net, subject.images, subject.targets, maps).mean(1)
        return torch.stack([deletion, insertion]).cpu()

    others = [Peer("torchcam", partial(peers.torchcam_areas, subject, maps, steps), run)]
    return Contest(run, others, partial(passes, subject, 2 * steps), 2 * steps)


def _igos(subject: Subject, ours: Callable) -> Contest:
    iterations, points = 3, 8
    run = partial(ours, [IGOS(iterations=iterations, n_steps=points)])

    @cache
    def made() -> list[tuple[int, bool]]:
        """Images of each pass that it makes, and whether with a backward: line searches end when they will."""
        seen: list[tuple[int, bool]] = []
        handle = subject.net.register_forward_pre_hook(
            lambda module, args: seen.append((len(args[0]), args[0].requires_grad))
        )
        run()
        handle.remove()
        return seen

    def bare() -> None:
        for count, backward in made():
            images = subject.images[torch.arange(count) % len(subject.images)].requires_grad_(backward)
            with torch.inference_mode(not backward):
                scores = subject.net(images)
            if backward:
                torch.autograd.grad(scores[:, 0].float().sum(), images)

    return Contest(run, [], bare, 7 * iterations, iterations * points, prepare=made)


METHODS: dict[str, Callable[[Subject, Callable], Contest]] = {
    "gradcam": _gradcam,
    "family": _family,
    "gradcam_pp": _gradcam_pp,
    "scorecam": _scorecam,
    "smooth_gradcam_pp": _smooth,
    "occlusion": _occlusion,
    "rise": _rise,
    "integrated_gradients": _integrated_gradients,
    "insertion_deletion": _insertion_deletion,
    "igos": _igos,
}
