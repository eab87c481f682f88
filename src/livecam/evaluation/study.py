"""What ``score`` and ``compare`` ask of a network: which methods, which metrics, on which images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Trainer
from torch.utils.data import Dataset

from livecam.core.validation import check_count, check_number
from livecam.evaluation.datasets import choose, data_for, images_of, part_of, run_data
from livecam.evaluation.evaluator import Evaluator, check_metrics
from livecam.evaluation.loaded_network import Network
from livecam.evaluation.reference_mask import ReferenceMask
from livecam.evaluation.results import NetworkScores
from livecam.evaluation.score_store import ScoreFolder, fingerprint, settings_of
from livecam.evaluation.scoring_module import Scorer, columns_of, run
from livecam.explain import CentredGaussian, Explainer, by_name, by_names
from livecam.explain.explanation import check_names
from livecam.explain.methods.controls import BASELINES
from livecam.metrics import ImageMetric, ReferenceLocalizationScore
from livecam.metrics.image_metric import metrics_by_names
from livecam.report.drawing.strips import printed_names
from livecam.runtime.failures import Failures
from livecam.runtime.progress import listed

SHOWN = 6
"""How many images are drawn."""
# Of as many times more maps are kept, where some images may be left without any.
_SPARE = 4


@dataclass
class Scored:
    """One network's answer.

    Args:
        network: The network.
        scores: All its scores.
        dataset: The samples, prepared for this network.
        indices: Which of them were scored.
        shown: Which of these are shown.
        folder: Where the scores are.
    """

    network: Network
    scores: NetworkScores
    dataset: Dataset
    indices: list[int]
    shown: list[int]
    folder: Path


@dataclass
class Question:
    """The same for each network.

    Args:
        explainers: Methods, the baseline last.
        metrics: What is measured.
        words: The metrics as they were written.
        target: Explained class, ``label`` or ``predicted``.
        data: ``class_path`` and ``init_args``; None takes the data of each network's training.
        part: Part of the data, ``val`` or ``test``.
        limit: How many images; None takes all.
        batch_size: Images per pass.
        reference: Arguments of :class:`livecam.evaluation.reference_mask.ReferenceMask`, where another network's maps
            are ground truth.
        skip: How many of the images that are drawn first are left out.
        min_probability: Least probability of the explained class.
    """

    explainers: list[Explainer]
    metrics: list[ImageMetric]
    words: list[str]
    target: str
    data: dict[str, Any] | None
    part: str
    limit: int | None
    batch_size: int
    reference: dict[str, Any] | None
    skip: int = 0
    min_probability: float = 0.0

    @property
    def printed(self) -> dict[str, str]:
        """What a person reads for each method."""
        return printed_names(self.explainers)

    @property
    def explained(self) -> str:
        """What was explained, for people."""
        return "true class explained" if self.target == "label" else "predicted class explained"

    def ask(self, network: Network, folder: Path, trainer: Trainer) -> Scored:
        """Score one network into a folder, going on with what is there."""
        given = self.data or run_data(network.source)
        data = data_for(network, given)
        loader = part_of(data, self.part)
        indices = choose(len(loader.dataset), self.limit, self.skip)
        if not indices:
            raise ValueError(f"--skip {self.skip} leaves none of the {len(loader.dataset)} images.")
        spare = SHOWN * (_SPARE if self.min_probability else 1)
        shown = choose(len(loader.dataset), min(spare, len(indices)), self.skip)
        photos = getattr(loader.dataset, "photos", None)
        files = [fingerprint(value) for value in (self.reference or {}).values() if isinstance(value, str)]
        more = {
            "images": images_of(loader.dataset),
            "target": self.target,
            "part": self.part,
            "reference": repr(self.reference),
            "reference_files": files,
            "min_probability": self.min_probability,
        }
        settings = settings_of(network, given, self.explainers, self.words, **more)
        columns = [column for metric in self.metrics for column in columns_of(metric)]
        store = ScoreFolder(folder, settings, columns)
        evaluator = Evaluator(
            self.explainers,
            self.metrics,
            self.target,
            Failures(strict=False),
            self.min_probability,
            self._reference(network),
        )
        scorer = Scorer(network, evaluator, store, [photo.path for photo in photos] if photos else None, shown, data)
        run(scorer, loader, indices, trainer, self.batch_size)
        wanted = set(indices)
        rows = (row for index, group in store.images() if index in wanted for row in group)
        methods = [explainer.name for explainer in self.explainers]
        scores = NetworkScores(network.label, rows, methods, self.metrics)
        return Scored(network, scores, loader.dataset, indices, shown, folder)

    def check(self, answers: Sequence[Scored]) -> None:
        """Say so where every map failed, beside those that read no network.

        Raises:
            ValueError: Since whoever runs the command would take what is left for scores.
        """
        names = [explainer.name for explainer in self.explainers if not isinstance(explainer, BASELINES)]
        pairs = [(answer.scores, name) for answer in answers for name in names]
        if names and all(0 < scores.asked[name] == scores.failed[name] for scores, name in pairs):
            raise ValueError("Every map failed: the log says why.")

    def _reference(self, network: Network) -> ReferenceMask | None:
        if not self.reference:
            return None
        # Every image comes once: keeping its map would serve nobody.
        found = ReferenceMask(**self.reference, cache=0)
        if found.num_classes != network.num_classes:
            # Its classes are others, so that the explained one means nothing to it.
            found.target = "predicted"
        return found


def question(
    methods: str,
    metrics: str,
    target: str,
    data: dict[str, Any] | None,
    part: str,
    limit: int | None,
    batch_size: int,
    reference: str | None,
    reference_weights: str | None,
    reference_method: str,
    skip: int = 0,
    min_probability: float = 0.0,
) -> Question:
    """Read what was written on the command line; a centred Gaussian joins the methods as the baseline to beat.

    Raises:
        ValueError: When a name is unknown or a number out of range.
    """
    explainers = by_names(listed(methods))
    if not explainers:
        raise ValueError("No method was named: --methods takes names separated by commas, such as gradcam,cam.")
    baseline = CentredGaussian()
    if baseline.name not in {explainer.name for explainer in explainers}:
        explainers.append(baseline)
    check_names(explainers)
    check_count("batch_size", batch_size)
    check_count("skip", skip, 0)
    check_number("min_probability", min_probability, 0, 1)
    if limit is not None:
        check_count("limit", limit)
    words = listed(metrics)
    asked = metrics_by_names(words)
    if not asked:
        raise ValueError("No metric was named: --metrics takes names separated by commas, such as localization.")
    if reference and not any("reference" in metric.inputs for metric in asked):
        words.append(ReferenceLocalizationScore.name)
        asked.append(ReferenceLocalizationScore())
    check_metrics(asked, reference)
    other = _reference(reference, reference_weights, reference_method) if reference else None
    return Question(explainers, asked, words, target, data, part, limit, batch_size, other, skip, min_probability)


def _reference(name: str, weights: str | None, method: str) -> dict[str, Any]:
    """A checkpoint where there is such a file, else a network by name."""
    given: dict[str, Any] = {"explainer": by_name(method)}
    if Path(name).suffix == ".ckpt":
        return given | {"checkpoint": name}
    if weights is None:
        raise ValueError(
            f"--reference {name} would have random weights: add --reference_weights pretrained, or a file."
        )
    return given | {"model": name, "weights": weights}
