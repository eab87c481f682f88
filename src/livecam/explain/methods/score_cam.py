"""Score-CAM: channels weighted by the score of the image that they let through; no gradients."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from livecam.core.maps import is_degenerate, minmax, resize
from livecam.core.options import Count
from livecam.explain.methods.cam import LayerExplainer
from livecam.explain.recording.channel_stats import weighted_sum
from livecam.explain.recording.recording import Recording
from livecam.runtime.inference import Precision

# Expected error of a map's scale that nobody sees; the largest error of any pixel is a few times that.
_UNSEEN = 0.003


@dataclass(frozen=True)
class ScoreCAM(LayerExplainer):
    """Score-CAM (Wang et al. 2020): L = relu(sum_k w_k A_k), w_k from the score of the image under mask k.

    Mask k is channel k, resized to the image and scaled to [0, 1]; the masked image is image times mask, in the space
    of the model's input, where zero is the mean color. Channels that are constant (up to rounding) mask nothing: they
    weigh nothing and are never run. Costs one forward for every other channel and one more for ``logit_diff``.

    ``details``: ``convention``, ``channels`` ``(N,)`` that were run, and ``n_eff`` ``(N,)`` = (sum |w|)^2 / sum w^2,
    the effective number of channels; where it is near their number, all weigh alike and conventions agree.

    Args:
        layer: See :class:`LayerExplainer`.
        post_relu: See :class:`LayerExplainer`.
        weighting: ``softmax_logit``: softmax over channels of the class's logit (the paper's algorithm; its baseline
            cancels). ``prob``: the class's probability (the authors' code). ``logit_diff``: logit of the masked image
            minus that of an image of zeros (Mascolini et al. 2022; Wang et al., definition 3, without the softmax).
        mask_order: ``resize_first`` resizes a channel, then scales it to [0, 1] (the paper); ``scale_first`` the other
            way round (torchcam).
        align_corners: How masks are resized; True as in pytorch_grad_cam.
        precision: Of the masked images' forwards, see :mod:`livecam.runtime.inference`; with ``bf16`` and
            ``softmax_logit`` the few channels that weigh most are run once more in full precision.
        internal_batch_size: Masked images per forward; None takes what fits into free memory, see
            :mod:`livecam.runtime.memory`.
        name: See :class:`Explainer`.

    Raises:
        ValueError: When an option is unknown or ``internal_batch_size`` is not positive.
    """

    method: ClassVar[str] = "scorecam"
    label: ClassVar[str] = "Score-CAM"
    gradient: ClassVar[bool] = False

    weighting: Literal["softmax_logit", "prob", "logit_diff"] = "softmax_logit"
    mask_order: Literal["resize_first", "scale_first"] = "resize_first"
    align_corners: bool = False
    precision: Precision = "full"
    internal_batch_size: Count | None = None

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        activations = self.activations(recording)
        live = ~is_degenerate(activations.flatten(0, 1)).view(activations.shape[:2])
        scores = self._scores(recording, activations, live)
        if self.weighting == "softmax_logit":
            if self.precision == "bf16":
                scores = self._refined(recording, activations, live, scores)
            weights = _softmax(scores, live)
        elif self.weighting == "prob":
            weights = scores
        else:
            # In the precision of the others, so that its rounding cancels.
            sample_index = torch.arange(len(live), device=live.device)
            baseline = self._run(recording, torch.zeros_like(recording.images[:1]), sample_index)
            weights = (scores - baseline.to(scores)[:, None]).masked_fill(~live, 0)
        mass = weights.abs().sum(1)
        details = {
            "convention": f"{self.weighting}, {self.mask_order}",
            "channels": live.sum(1),
            "n_eff": mass.square() / weights.square().sum(1).masked_fill(mass == 0, 1),
        }
        return weighted_sum(weights, activations).relu(), details

    def _scores(self, recording: Recording, activations: Tensor, chosen: Tensor) -> Tensor:
        """Score of the images under the masks that ``chosen`` ``(N, K)`` names; zero elsewhere."""
        scores = torch.zeros_like(activations[:, :, 0, 0])
        owners, channels = chosen.nonzero(as_tuple=True)
        for part in recording.chunks(self, len(owners)):
            sample_index, channel = owners[part], channels[part]
            images = recording.images[sample_index]
            masks = self._masks(activations[sample_index, channel], tuple(images.shape[-2:]))
            masked = images * masks[:, None].to(images)
            scores[sample_index, channel] = self._run(recording, masked, sample_index).to(scores)
        return scores

    def _run(self, recording: Recording, images: Tensor, sample_index: Tensor) -> Tensor:
        score = recording.probability if self.weighting == "prob" else recording.score
        return score(images, sample_index, self.precision)

    def _refined(self, recording: Recording, activations: Tensor, live: Tensor, scores: Tensor) -> Tensor:
        """Scores of half precision, where those that matter most are replaced by scores of full precision.

        Softmax turns a logit's error of one per cent into a weight's error of twenty. So the channels that weigh most
        are run again, a thirty-second part at a time, until the error seen there, carried over to the weights of all
        others, is too small to show; the others are shifted by its mean.
        """
        in_full, few = replace(self, precision="full"), (live.sum(1, keepdim=True) / 32).ceil()
        rank = torch.arange(live.shape[1], device=live.device)
        exact, run = torch.zeros_like(scores), torch.zeros_like(live)
        shift, size = torch.zeros_like(few), torch.full_like(few, torch.inf)
        while True:
            best = torch.where(run, exact, scores - shift)
            weights, order = _softmax(best, live).masked_fill(run, 0).sort(1, descending=True)
            due = size * weights.square().sum(1, keepdim=True).sqrt() > _UNSEEN
            leading = torch.zeros_like(live).scatter(1, order, due & (rank < few)) & live & ~run
            if not leading.any():
                return best
            exact = torch.where(leading, in_full._scores(recording, activations, leading), exact)
            run |= leading
            error = (scores - exact) * run
            count = run.sum(1, keepdim=True).clamp(min=1)
            shift = error.sum(1, keepdim=True) / count
            size = (error.square().sum(1, keepdim=True) / count).sqrt()

    def _masks(self, channels: Tensor, size: tuple[int, int]) -> Tensor:
        """Channels ``(M, h, w)`` as masks ``(M, H, W)`` in [0, 1]."""
        if self.mask_order == "scale_first":
            return resize(minmax(channels), size, self.align_corners)
        return minmax(resize(channels, size, self.align_corners))


def _softmax(scores: Tensor, live: Tensor) -> Tensor:
    """Softmax over the live channels ``(N, K)``; an image that has none gets zeros."""
    return scores.masked_fill(~live, -torch.inf).softmax(1).masked_fill(~live, 0)
