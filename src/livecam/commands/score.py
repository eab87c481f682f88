"""``explain.py score``: which explanation is best for a network, on a whole data set."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livecam.commands.scored_pictures import pictures
from livecam.core.errors import OptionError
from livecam.core.files import write_atomically
from livecam.evaluation.loaded_network import NetworkOptions, load_network
from livecam.evaluation.scoring_module import ScoringTrainer
from livecam.evaluation.study import NetworkResult, ScoringConfig, StudyOptions, scoring_config
from livecam.evaluation.tables import accuracy_of, curves_of, paired_tables, ranking
from livecam.report.html.scores_page import write_scores_page
from livecam.report.tables import print_tables


@dataclass(kw_only=True)
class Score(StudyOptions, NetworkOptions):
    """Score explanations of a trained network on a data set: which method is best for this network on these data?

    Writes scores.csv (a row per image and method), summary.json and index.html. An interrupted run goes on where it
    was when the same command is given again; with a greater --limit it scores the further images.

    Beside chance stands a centered Gaussian, which knows nothing of the image: the control to beat.

    Args:
        skip: Leave out so many of the images that are drawn first: settings are chosen by --limit 10 --skip 30 for a
            study of --limit 30, which shares no image with it.
        against: One of the methods; every figure of the others is also printed minus its figure, paired by image, with
            intervals, methods in the order given.
        min_probability: Explain only where the network gives the class at least this probability. The pointing game of
            the AOP paper on COCO asks for 0.5.
    """

    metrics: str = "energy_in_mask,insertion_deletion(curves=True)"
    skip: int = 0
    against: str | None = None
    min_probability: float = 0.0
    out: str = "scores"

    def run(self) -> None:
        """Print the scores, and write them and the page to ``out``."""
        config = scoring_config(self)
        if self.against and self.against not in config.printed:
            raise OptionError(f"--against {self.against} is none of the methods: {', '.join(config.printed)}.")
        network = load_network(self)
        trainer = ScoringTrainer(**self.trainer).build()
        result = config.score_network(network, Path(self.out), trainer)
        if trainer.is_global_zero:
            _report(config, result, Path(self.out), self.against)
        config.check([result])


def _report(config: ScoringConfig, result: NetworkResult, folder: Path, against: str | None) -> None:
    scores = result.scores
    tables = [ranking(config, result, metric) for metric in config.metrics]
    if against:
        tables += [table for metric in config.metrics for table in paired_tables(config, scores, metric, against)]
        if len(tables) == len(config.metrics):
            print(f"{config.printed[against]} has no score, so that nothing can be set against it.", file=sys.stderr)
    count = scores.images
    unread = len(result.indices) - count
    facts = [result.network.source, f"{count} image{'s' * (count != 1)} of {len(result.dataset)}", config.explained]
    if scores.explained != count:
        what = "images explained"
        if config.options.target == "label" and scores.is_multilabel:
            what = f"pairs of image and category explained, of {scores.categories} categories"
        facts += [f"{scores.explained} {what}"]
    least = config.options.min_probability
    facts += [f"{scores.unsure} below probability {least:g}"] if least else []
    facts += [f"accuracy on them {accuracy_of(result)}"] if scores.accuracy else []
    facts += [f"{unread} unreadable left out"] if unread else []
    if scores.explained:
        facts += [f"{name} does not fit" for method, name in config.printed.items() if not scores.knows(method)]
        failed = {name: scores.failed[method] for method, name in config.printed.items() if scores.failed[method]}
        facts += [f"{count} maps of {name} failed" for name, count in failed.items()]
    elif scores.unsure:
        facts += ["nothing was explained: give a lower --min_probability"]
    print(" · ".join(facts))
    print_tables(tables)
    summary: dict[str, Any] = {"network": result.network.label, "images": count, "unreadable": unread}
    summary |= {"explained": scores.explained, "below_min_probability": scores.unsure}
    summary["failed_maps"] = {method: scores.failed[method] for method in config.printed}
    summary |= {"target": config.options.target} | scores.as_dict()
    summary["tables"] = {table.title: table.as_rows() for table in tables[len(config.metrics) :]}
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2).encode())
    entries = pictures(folder, config, [result])
    curves = [drawing for metric in config.metrics for drawing in curves_of(config, result, metric)]
    title = f"Which explanation of {result.network.label} to trust"
    write_scores_page(folder / "index.html", title, facts, tables, curves, entries)
    print(f"{folder / 'scores.csv'}, summary.json and {folder / 'index.html'}")
