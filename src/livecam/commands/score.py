"""``explain.py score``: which explanation is best for a network, on a whole data set."""

import json
import sys
from pathlib import Path
from typing import Any, Literal

from lightning import LightningDataModule

from livecam.commands.scored_pictures import pictures
from livecam.core.files import write_atomically
from livecam.evaluation.loaded_network import load_network
from livecam.evaluation.scoring_module import ScoringTrainer
from livecam.evaluation.study import Question, Scored, question
from livecam.evaluation.tables import accuracy_of, curves_of, paired_tables, ranking
from livecam.report.html.scores_page import write_scores_page
from livecam.report.tables import print_tables


def score(
    checkpoint: str | None = None,
    model: str | None = None,
    weights: str | None = None,
    methods: str = "gradcam",
    metrics: str = "energy_in_mask,insertion_deletion(curves=True)",
    data: LightningDataModule | None = None,
    part: Literal["val", "test"] = "val",
    limit: int | None = None,
    skip: int = 0,
    against: str | None = None,
    min_probability: float = 0.0,
    target: Literal["label", "predicted"] = "label",
    reference: str | None = None,
    reference_weights: str | None = None,
    reference_method: str = "gradcam_pp",
    out: str = "scores",
    batch_size: int = 8,
    num_classes: int = 1000,
    image_size: int = 224,
    resize: Literal["crop", "stretch"] = "crop",
    trainer: ScoringTrainer = ScoringTrainer(),  # noqa: B008  plain values, never changed
) -> None:
    """Score explanations of a trained network on a data set: which method is best for this network on these data?

    Writes scores.csv (a row per image and method), summary.json and index.html. An interrupted run goes on where it
    was when the same command is given again; with a greater --limit it scores the further images.

    Beside chance stands a centred Gaussian, which knows nothing of the image: the baseline to beat.

    Args:
        checkpoint: Checkpoint of train.py.
        model: Network by name instead, such as torchvision/resnet50 or timm/convnext_tiny.
        weights: Weights of --model: pretrained, another published name, or a file.
        methods: Names separated by commas, such as gradcam,rise(masks=1000), or presets.
        metrics: Names separated by commas, such as localization,pointing,insertion_deletion(step=1792).
        data: A class, such as AnnotatedPhotos with --data.root PATH, or a file that names one; by default the data that
            the checkpoint was trained on.
        part: Validation or test part of the data.
        limit: Score only so many images, drawn at random, the same each time.
        skip: Leave out so many of the images that are drawn first: settings are chosen by --limit 10 --skip 30 for a
            study of --limit 30, which shares no image with it.
        against: One of the methods; every figure of the others is also printed minus its figure, paired by image, with
            intervals, methods in the order given.
        min_probability: Explain only where the network gives the class at least this probability. The pointing game of
            the AOP paper on COCO asks for 0.5.
        target: Whether the true class (label) or the predicted one is explained; of multi-label images each category
            that they are labelled with.
        reference: Another network, by checkpoint or name, whose maps are ground truth beside that of the data. It
            explains the same class, or the one it predicts itself where it tells other classes apart.
        reference_weights: Weights of --reference where it is a name.
        reference_method: Its method, such as gradcam_pp(layer='layer3').
        out: Folder to write to.
        batch_size: Images per pass.
        num_classes: Outputs of --model.
        image_size: Input size of --model.
        resize: How photos are brought to that size for --model: crop (centre) or stretch (whole photo).
        trainer: How images are spread over devices.
    """
    asked = question(
        methods,
        metrics,
        target,
        data,
        part,
        limit,
        batch_size,
        reference,
        reference_weights,
        reference_method,
        skip,
        min_probability,
    )
    if against and against not in asked.printed:
        raise ValueError(f"--against {against} is none of the methods: {', '.join(asked.printed)}.")
    network = load_network(checkpoint, model, weights, num_classes, image_size, resize)
    runner = ScoringTrainer(**trainer).build()
    answer = asked.ask(network, Path(out), runner)
    if runner.is_global_zero:
        _report(asked, answer, Path(out), against)
    asked.check([answer])


def _report(asked: Question, answer: Scored, folder: Path, against: str | None) -> None:
    scores = answer.scores
    tables = [ranking(asked, answer, metric) for metric in asked.metrics]
    if against:
        tables += [table for metric in asked.metrics for table in paired_tables(asked, scores, metric, against)]
        if len(tables) == len(asked.metrics):
            print(f"{asked.printed[against]} has no score, so that nothing can be set against it.", file=sys.stderr)
    count = scores.images
    unread = len(answer.indices) - count
    facts = [answer.network.source, f"{count} image{'s' * (count != 1)} of {len(answer.dataset)}", asked.explained]
    if scores.explained != count:
        what = "images explained"
        if asked.target == "label" and scores.several:
            what = f"pairs of image and category explained, of {scores.categories} categories"
        facts += [f"{scores.explained} {what}"]
    facts += [f"{scores.unsure} below probability {asked.min_probability:g}"] if asked.min_probability else []
    facts += [f"accuracy on them {accuracy_of(answer)}"] if scores.accuracy else []
    facts += [f"{unread} unreadable left out"] if unread else []
    if scores.explained:
        facts += [f"{name} does not fit" for method, name in asked.printed.items() if not scores.knows(method)]
        failed = {name: scores.failed[method] for method, name in asked.printed.items() if scores.failed[method]}
        facts += [f"{count} maps of {name} failed" for name, count in failed.items()]
    elif scores.unsure:
        facts += ["nothing was explained: give a lower --min_probability"]
    print(" · ".join(facts))
    print_tables(tables)
    summary: dict[str, Any] = {"network": answer.network.label, "images": count, "unreadable": unread}
    summary |= {"explained": scores.explained, "below_min_probability": scores.unsure}
    summary["failed_maps"] = {method: scores.failed[method] for method in asked.printed}
    summary |= {"target": asked.target, "accuracy": vars(scores.accuracy) if scores.accuracy else None}
    summary["metrics"] = {
        metric.name: {line.method: line.as_dict() for line in scores.ranked(metric)} for metric in asked.metrics
    }
    summary["tables"] = {table.title: table.as_rows() for table in tables[len(asked.metrics) :]}
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2).encode())
    drawn = pictures(folder, asked, [answer])
    curves = [drawing for metric in asked.metrics for drawing in curves_of(asked, answer, metric)]
    title = f"Which explanation of {answer.network.label} to trust"
    write_scores_page(folder / "index.html", title, facts, tables, curves, drawn)
    print(f"{folder / 'scores.csv'}, summary.json and {folder / 'index.html'}")
