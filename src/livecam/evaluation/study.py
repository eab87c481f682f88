"""What ``score`` and ``compare`` ask of a network: which methods, which metrics, on which images."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning import LightningDataModule, Trainer
from torch.utils.data import Dataset

from livecam.core.errors import OptionError
from livecam.core.validation import check_count, check_number
from livecam.evaluation.datasets import choose, data_for, images_of, run_data, split_loader
from livecam.evaluation.evaluator import Evaluator, check_metrics
from livecam.evaluation.loaded_network import Network
from livecam.evaluation.reference_mask import ReferenceMask
from livecam.evaluation.results import NetworkScores
from livecam.evaluation.score_store import ScoreFolder
from livecam.evaluation.scoring_module import Scorer, ScoringTrainer, columns_of, run
from livecam.explain import CenteredGaussian, Explainer, by_name, by_names
from livecam.explain.explanation import check_names
from livecam.explain.methods.controls import CONTROLS
from livecam.metrics import ImageMetric, ReferenceLocalizationScore
from livecam.metrics.image_metric import metrics_by_names
from livecam.report.drawing.strips import printed_names
from livecam.runtime.failures import FailurePolicy
from livecam.runtime.progress import listed

SHOWN = 6
"""How many images are drawn."""
# So many times as many maps are kept where some images may be left without any.
_SPARE = 4


@dataclass
class NetworkResult:
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


@dataclass(kw_only=True)
class StudyOptions:
    """Options of commands that score networks.

    Args:
        methods: Names separated by commas, such as gradcam,rise(num_masks=1000), or presets.
        metrics: Names separated by commas, such as localization,pointing,insertion_deletion(step=1792).
        data: A class, such as AnnotatedPhotos with --data.root PATH, or a file that names one; by default the data that
            the checkpoint was trained on.
        split: Validation or test split of the data.
        limit: Score only so many images, drawn at random, the same each time.
        target: Whether the true class (label) or the predicted one is explained; of multi-label images each category
            that they are labeled with.
        reference: Another network, by checkpoint or name, whose maps are ground truth beside that of the data. It
            explains the same class, or the one it predicts itself where it tells other classes apart.
        reference_weights: Weights of --reference where it is a name.
        reference_method: Its method, such as gradcam_pp(layer='layer3').
        out: Folder to write to.
        batch_size: Images per pass.
        trainer: How images are spread over devices.
    """

    methods: str = "gradcam"
    metrics: str
    data: LightningDataModule | None = None
    split: Literal["val", "test"] = "val"
    limit: int | None = None
    target: Literal["label", "predicted"] = "label"
    reference: str | None = None
    reference_weights: str | None = None
    reference_method: str = "gradcam_pp"
    out: str
    batch_size: int = 8
    trainer: ScoringTrainer = field(default_factory=ScoringTrainer)

    # No options here, because not every command has them: images left out first, least probability of the class.
    skip = 0
    min_probability = 0.0


@dataclass
class ScoringConfig:
    """The same for each network.

    Args:
        options: What was written on the command line; ``data`` as ``class_path`` and ``init_args``.
        explainers: Methods, the control last.
        metrics: What is measured.
        words: The metrics as they were written.
        reference: Arguments of :class:`livecam.evaluation.reference_mask.ReferenceMask`, where another network's maps
            are ground truth.
    """

    options: StudyOptions
    explainers: list[Explainer]
    metrics: list[ImageMetric]
    words: list[str]
    reference: dict[str, Any] | None

    @property
    def candidates(self) -> list[Explainer]:
        """Methods but for controls."""
        return [explainer for explainer in self.explainers if not isinstance(explainer, CONTROLS)]

    @property
    def controls(self) -> set[str]:
        """Names of methods whose maps are no results but something to compare with."""
        return {explainer.name for explainer in self.explainers if isinstance(explainer, CONTROLS)}

    @property
    def printed(self) -> dict[str, str]:
        """What a person reads for each method."""
        return printed_names(self.explainers)

    @property
    def explained(self) -> str:
        """What was explained, for people."""
        return "true class explained" if self.options.target == "label" else "predicted class explained"

    def score_network(self, network: Network, folder: Path, trainer: Trainer) -> NetworkResult:
        """Score one network into a folder, going on with what is there."""
        options = self.options
        source = options.data or run_data(network.source)
        data = data_for(network, source)
        loader = split_loader(data, options.split)
        indices = choose(len(loader.dataset), options.limit, options.skip)
        if not indices:
            raise OptionError(f"--skip {options.skip} leaves none of the {len(loader.dataset)} images.")
        spare = SHOWN * (_SPARE if options.min_probability else 1)
        shown_indices = choose(len(loader.dataset), min(spare, len(indices)), options.skip)
        photos = getattr(loader.dataset, "photos", None)
        fingerprints = [fingerprint(value) for value in (self.reference or {}).values() if isinstance(value, str)]
        more = {
            "images": images_of(loader.dataset),
            "target": options.target,
            "split": options.split,
            "reference": repr(self.reference),
            "reference_files": fingerprints,
            "min_probability": options.min_probability,
        }
        settings = settings_of(network, source, self.explainers, self.words, **more)
        columns = [column for metric in self.metrics for column in columns_of(metric)]
        store = ScoreFolder(folder, settings, columns)
        failures, least, reference = FailurePolicy(strict=False), options.min_probability, self._reference(network)
        evaluator = Evaluator(self.explainers, self.metrics, options.target, failures, least, reference)
        paths = [photo.path for photo in photos] if photos else None
        scorer = Scorer(network, evaluator, store, paths, shown_indices, data)
        run(scorer, loader, indices, trainer, options.batch_size)
        requested = set(indices)
        rows = (row for index, group in store.images() if index in requested for row in group)
        methods = [explainer.name for explainer in self.explainers]
        scores = NetworkScores(network.label, rows, methods, self.metrics)
        return NetworkResult(network, scores, loader.dataset, indices, shown_indices, folder)

    def check(self, results: Sequence[NetworkResult]) -> None:
        """Say so where every map failed, beside those that read no network.

        Raises:
            OptionError: Since whoever runs the command would take what is left for scores.
        """
        names = [explainer.name for explainer in self.candidates]
        pairs = [(result.scores, name) for result in results for name in names]
        if names and all(0 < scores.attempted[name] == scores.failed[name] for scores, name in pairs):
            raise OptionError("Every map failed: the log says why.")

    def _reference(self, network: Network) -> ReferenceMask | None:
        if not self.reference:
            return None
        # Every image comes once: keeping its map would serve nobody.
        reference = ReferenceMask(**self.reference, cache=0)
        if reference.num_classes != network.num_classes:
            # Its classes are others, so that the explained one means nothing to it.
            reference.target = "predicted"
        return reference


def scoring_config(options: StudyOptions) -> ScoringConfig:
    """Read what was written on the command line; a centered Gaussian joins the methods as the control to beat.

    Raises:
        OptionError: When a name is unknown or a number out of range.
    """
    explainers = by_names(listed(options.methods))
    if not explainers:
        raise OptionError("No method was named: --methods takes names separated by commas, such as gradcam,cam.")
    control = CenteredGaussian()
    if control.name not in {explainer.name for explainer in explainers}:
        explainers.append(control)
    check_names(explainers)
    check_count("batch_size", options.batch_size)
    check_count("skip", options.skip, 0)
    check_number("min_probability", options.min_probability, 0, 1)
    if options.limit is not None:
        check_count("limit", options.limit)
    words = listed(options.metrics)
    metrics = metrics_by_names(words)
    if not metrics:
        raise OptionError("No metric was named: --metrics takes names separated by commas, such as localization.")
    if options.reference and not any("reference" in metric.inputs for metric in metrics):
        words.append(ReferenceLocalizationScore.name)
        metrics.append(ReferenceLocalizationScore())
    check_metrics(metrics, options.reference)
    return ScoringConfig(options, explainers, metrics, words, _reference(options) if options.reference else None)


def _reference(options: StudyOptions) -> dict[str, Any]:
    """A checkpoint where there is such a file, else a network by name."""
    name, weights = options.reference, options.reference_weights
    arguments: dict[str, Any] = {"explainer": by_name(options.reference_method)}
    if Path(name).suffix == ".ckpt":
        return arguments | {"checkpoint": name}
    if weights is None:
        raise OptionError(f"--reference {name} has random weights: add --reference_weights pretrained, or a file.")
    return arguments | {"model": name, "weights": weights}


def settings_of(
    network: Network, data: Mapping[str, Any], methods: Sequence[Explainer], metrics: Sequence[str], **more: Any
) -> dict[str, Any]:
    """What scores depend on, as plain values that tell one run's from another's."""
    return {
        "network": network.label,
        "weights": fingerprint(network.source),
        "input": [network.image_size, network.resize],
        "data": dict(data),
        "methods": [repr(method) for method in methods],
        "metrics": list(metrics),
        **more,
    }


def fingerprint(source: str) -> str:
    """Name and content of a file; the name alone of published weights."""
    path = Path(source)
    if not path.is_file():
        return source
    with path.open("rb") as file:
        return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
