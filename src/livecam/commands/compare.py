"""``explain.py compare``: the same methods on the same images under several networks, as ablation studies need it."""

import json
from dataclasses import dataclass
from pathlib import Path

from livecam.commands.networks import SeveralNetworks, load_networks
from livecam.commands.scored_pictures import pictures
from livecam.core.errors import OptionError
from livecam.core.files import write_atomically
from livecam.evaluation.datasets import check_same_data
from livecam.evaluation.scoring_module import ScoringTrainer
from livecam.evaluation.study import NetworkResult, ScoringConfig, StudyOptions, scoring_config
from livecam.evaluation.tables import Study, difference_table, measured, over_runs, study_of
from livecam.metrics import ImageMetric
from livecam.report.html.scores_page import write_scores_page
from livecam.report.tables import Cell, Measured, ScoreTable, as_csv, print_tables


@dataclass(kw_only=True)
class Compare(StudyOptions, SeveralNetworks):
    """Compare networks by scores of their explanations: does the ablated twin localize worse?

    Writes comparison.csv, summary.json, index.html, a picture of the same images under every network, and for each
    network a folder of per-image scores, which an interrupted run goes on with.

    Differences are paired by image. Networks of one kind, as several seeds make them, are runs of it: the i-th of one
    kind is paired with the i-th of the other, and the interval of the mean difference is over runs (Student's t).
    Accuracy stands beside every score: a difference at unequal accuracy is confounded, and is marked so.

    Args:
        checkpoint: Checkpoints of train.py, two or more; runs of one kind in the order of their seeds.
        model: Networks by name instead, or beside them.
        methods: Names separated by commas, such as gradcam,gradcam_pp,scorecam, or presets.
        metrics: Names separated by commas, such as localization,pointing.
        data: A class, such as AnnotatedPhotos with --data.root PATH, or a file that names one; by default the data that
            each checkpoint was trained on.
        limit: Score only so many images, drawn at random, the same for all networks.
        target: Whether the true class (label) or the predicted one is explained.
    """

    metrics: str = "localization"
    out: str = "comparison"

    def run(self) -> None:
        """Print the scores, and write them and the page to ``out``."""
        config = scoring_config(self)
        networks = load_networks(self)
        if len(networks) < 2:
            raise OptionError("There is one network: compare takes two or more, and score takes one.")
        if self.data is None:
            check_same_data(networks)
        trainer = ScoringTrainer(**self.trainer).build()
        results = [config.score_network(network, Path(self.out) / network.slug, trainer) for network in networks]
        if trainer.is_global_zero:
            _report(config, results, Path(self.out))
        config.check(results)


def _report(config: ScoringConfig, results: list[NetworkResult], folder: Path) -> None:
    study = study_of(results)
    tables = [
        table
        for metric in config.metrics
        for table in _in_order(_side_by_side(config, study, metric), difference_table(config, study, metric))
    ]
    counts = {result.scores.images for result in results}
    facts = [result.network.label for result in results]
    facts += [f"{' or '.join(map(str, sorted(counts)))} images", config.explained]
    print_tables(tables)
    write_atomically(folder / "comparison.csv", as_csv(tables).encode())
    summary = {"networks": {result.network.label: result.scores.as_dict() for result in results}}
    summary["tables"] = {table.title: table.as_rows() for table in tables}
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2).encode())
    title = f"Side by side: {' | '.join(dict.fromkeys(result.network.kind for result in results))}"
    write_scores_page(folder / "index.html", title, facts, tables, (), pictures(folder, config, results))
    print(f"{folder / 'comparison.csv'}, summary.json and {folder / 'index.html'}")


def _in_order(scores: list[ScoreTable], differing: list[ScoreTable]) -> list[ScoreTable]:
    """Differences come before the runs that they are made of."""
    return [scores[0], *differing, *scores[1:]]


def _side_by_side(config: ScoringConfig, study: Study, metric: ImageMetric) -> list[ScoreTable]:
    """Every method under every network; of runs their means first, and each of them in a table of its own."""
    groups = [(kind, members) for kind, members in study.kinds.items()]
    alone = [(result.network.label, [result]) for members in study.kinds.values() for result in members]
    words = metric.name.replace("_", " ")
    if not study.runs:
        return [_table(words, config, alone, metric)]
    runs = len(groups[0][1])
    means = _table(f"{words}: means of {runs} runs", config, groups, metric)
    means.notes.append("Intervals of means are over runs (Student's t).")
    return [means, _table(f"{words}: each run", config, alone, metric)]


def _table(
    title: str, config: ScoringConfig, groups: list[tuple[str, list[NetworkResult]]], metric: ImageMetric
) -> ScoreTable:
    words = metric.name.replace("_", " ")
    everyone = [result for _, members in groups for result in members]
    available = {name for result in everyone for line in result.scores.ranked(metric) for name in line.figures}
    figures = [name for name in metric.table_columns if name in available]
    columns = ["method", "network", f"{words} [95 %]", *(name.replace("_", " ") for name in figures), "accuracy", "n"]
    rows: list[list[Cell]] = []
    marks: list[float | None] = []
    faint = set()
    for explainer in config.explainers:
        control = explainer.name in config.controls
        lines = [[result.scores.line(metric, explainer.name) for result in members] for _, members in groups]
        # What knows nothing of the network is the same under each, as long as they see the same images.
        same = (
            control
            and len({line.figures[metric.value_names[0]].value for row_lines in lines for line in row_lines if line.n})
            == 1
        )
        for (kind, members), row_lines in list(zip(groups, lines))[: 1 if same else None]:
            if not all(line.figures for line in row_lines):
                continue
            row_lines = row_lines[:1] if same else row_lines
            names = [metric.value_names[0], *figures]
            means = {name: over_runs([line.figures[name] for line in row_lines]) for name in names}
            shares = [share for result in members if (share := result.scores.accuracy)]
            accuracy = Measured(over_runs(shares).value) if shares and not same else "-"
            cells = [measured(figure, name, name == metric.value_names[0]) for name, figure in means.items()]
            n = f"{sum(line.n for line in row_lines) / len(row_lines):.1f}".removesuffix(".0")
            if control:
                faint.add(len(rows))
            marks.append(means["chance"].value if "chance" in means else None)
            rows.append([config.printed[explainer.name], "any" if same else kind, *cells, accuracy, n])
    notes = [f"{'Higher' if metric.higher_is_better else 'Lower'} is better."]
    notes += ["No image has what this metric compares with."] if not rows else []
    notes += ["The red tick is chance."] if any(mark is not None for mark in marks) else []
    return ScoreTable(title, columns, rows, chart=2, marks=marks, words=2, faint=faint, notes=[" ".join(notes)])
