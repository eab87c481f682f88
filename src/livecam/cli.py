"""The command lines: LightningCLI for training, jsonargparse for explaining."""

import inspect
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser, get_loader, set_loader
from lightning import LightningDataModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import livecam.data
import livecam.evaluation.reference_mask  # noqa: F401  short class names resolve among imported classes
from livecam.callbacks.base import LiveExplanation
from livecam.callbacks.data_wait_monitor import LoaderWatch
from livecam.callbacks.resume import Resumption
from livecam.core.errors import OptionError, user_error
from livecam.core.safe_yaml import check_yaml
from livecam.core.text import one_sentence, printable
from livecam.explain import Explainer
from livecam.metrics import ImageMetric
from livecam.report.html.logger import HTMLLogger
from livecam.runtime.failures import reset_warn_once
from livecam.training.classifier import Classifier
from livecam.training.resume import SaveConfig, WholeCheckpoints, check_checkpoint, check_folder, last_of, requeued
from livecam.training.run_folder import RUNS, default_loggers, run_name

_ROOT = Path(__file__).resolve().parents[2]
DEMO = _ROOT / "configs" / "demo.yaml"

# What a data module says of itself and the model takes over, so that it is written in one place.
_FROM_DATA = ("num_classes", "head", "class_names", "image_size", "mean", "std", "resize")

# Options of commands that may be given several values, or several times.
_LIST = list[str] | None

_format = warnings.formatwarning
_load_yaml = get_loader("yaml")


def _load(text: str) -> Any:
    """YAML as jsonargparse reads it, unless its aliases or brackets are made to lose it."""
    check_yaml(text)
    return _load_yaml(text)


set_loader("yaml", _load, exceptions=(yaml.YAMLError,))


class OneSentence:
    """Makes a parser's errors one sentence with near matches, not a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> None:
        """Print the sentence and leave with exit code 2."""
        print(f"error: {printable(one_sentence(message, _names(self)).strip())}", file=sys.stderr)
        raise SystemExit(2) from ex


class Parser(OneSentence, LightningArgumentParser):
    """Parser of ``train.py``."""


class ExplainParser(OneSentence, ArgumentParser):
    """Parser of ``explain.py``."""

    def error(self, message: str, ex: Exception | None = None) -> None:
        """Say what probably became of the photos where none is left."""
        if re.search(r"arguments are required: \S*\bpaths$", message):
            message = (
                "No photo or folder is left: put the photos first, as in explain.py maps photo.jpg folder/ "
                "--checkpoint FILE, because an option may take all that follows it."
            )
        super().error(message, ex)

    def add_command(self, command: type) -> None:
        """Add a dataclass's fields as options; those that are lists (``list[str] | None``) take one value or several.

        Args:
            command: Its field ``paths``, if it has one, is positional.
        """
        parameters = inspect.signature(command).parameters
        lists = [name for name, parameter in parameters.items() if parameter.annotation == _LIST]
        described = ArgumentParser()
        described.add_class_arguments(command)
        help_of = {action.dest: action.help for action in described._actions}
        if "paths" in parameters:
            self.add_argument("paths", nargs="+", help=help_of["paths"])
        for name in lists:
            self.add_argument(
                f"--{name}", type=str, nargs="+", action="extend", metavar=name.upper(), help=help_of[name]
            )
        self.add_class_arguments(command, skip={"paths", *lists} & parameters.keys(), sub_configs=True, as_group=False)


class TrainCLI(LightningCLI):
    """``train.py fit|validate|test|predict``."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Use :class:`Parser`."""
        parser = Parser(**kwargs)
        parser.add_argument("-c", "--config", action="config", help="YAML file; may be repeated, later ones win.")
        return parser

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's, without its option to run the code that a checkpoint carries."""
        return {name: skipped | {"weights_only"} for name, skipped in LightningCLI.subcommands().items()}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Name runs, and let the model take over what the data know."""
        parser.add_argument("--run", type=str | None, default=None, help="Name of the run folder below runs/.")
        for name in _FROM_DATA:
            parser.link_arguments("data", f"model.{name}", compute_fn=_Attribute(name), apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Look at the checkpoint before anything is started."""
        super().parse_arguments(parser, args)
        checkpoint = self.config[self.config.subcommand].get("ckpt_path")
        if checkpoint:
            self._or_say(lambda: check_checkpoint(checkpoint))

    def before_instantiate_classes(self) -> None:
        """Give the trainer its loggers, and a resumed run its old folder."""
        config = self.config[self.subcommand]
        # Only a fit goes on in the checkpoint's folder: a validation logs step 0 and would overwrite its beginning.
        checkpoint = config.ckpt_path if self.subcommand == "fit" else None
        if checkpoint == "last" and not config.run:
            self.parser.error("--ckpt_path last goes on in a run folder, if it is there: name it by --run.")
        self._or_say(lambda: setattr(config, "run", run_name(config.run, checkpoint, config.trainer.num_nodes)))
        folder = RUNS / config.run
        root = Path(config.trainer.default_root_dir or folder)
        if checkpoint == "last" or (self.subcommand == "fit" and not checkpoint and requeued(root)):
            latest = last_of(folder, root)
            config.ckpt_path = checkpoint = None if latest is None else str(latest)
            if latest:
                self._or_say(lambda: check_checkpoint(latest))
        elif self.subcommand == "fit" and not checkpoint:
            self._or_say(lambda: check_folder(folder))
        config.trainer.default_root_dir = str(root)
        config.trainer.logger = default_loggers(config.trainer.logger, config.run)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Watch the loader, unless the run has a watch of its own, and make the run one that can go on."""
        trainer = super().instantiate_trainer(**kwargs)
        for kind in (LoaderWatch, Resumption):
            if not any(isinstance(callback, kind) for callback in trainer.callbacks):
                # In front, because Lightning keeps checkpoints at the end.
                trainer.callbacks.insert(0, kind())
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeCheckpoints()
        return trainer

    def after_fit(self) -> None:
        """Say where the page is."""
        for logger in self.trainer.loggers:
            if isinstance(logger, HTMLLogger) and self.trainer.is_global_zero:
                print(f"Open {Path(logger.path).resolve()} in a browser and press play.")

    def instantiate_classes(self) -> None:
        """Turn what a constructor refuses into one sentence."""
        self._or_say(super().instantiate_classes)

    def _or_say(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            if (refusal := user_error(error)) is None:
                raise
            self.parser.error(str(refusal))


class _Attribute:
    """Reads a fact from the data module, or the model's own default where the data say nothing of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.__name__ = name

    def __call__(self, data: LightningDataModule) -> Any:
        if self.name == "num_classes" and not hasattr(data, self.name):
            raise OptionError(f"{type(data).__name__} does not say how many classes it has: give it a num_classes.")
        return getattr(data, self.name, _default(self.name))


def _default(name: str) -> Any:
    return inspect.signature(Classifier).parameters[name].default


def _names(parser: ArgumentParser) -> list[str]:
    """Everything that can be misspelt: options, classes that configurations name, and their arguments."""
    names = [option for action in parser._actions for option in action.option_strings]
    waiting: list[type] = [Explainer, LiveExplanation, LightningDataModule, ImageMetric, Classifier]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        names += [kind.__name__, *inspect.signature(kind).parameters]
    return names


def train(args: list[str] | None = None) -> TrainCLI:
    """Run ``train.py``; without arguments, the demo.

    Args:
        args: Command line; None takes the process's.
    """
    if args is None and len(sys.argv) == 1:
        args = ["fit", "-c", str(DEMO)]
    torch.set_float32_matmul_precision("high")
    _speak()
    return TrainCLI(
        Classifier,
        LightningDataModule,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_callback=SaveConfig,
        auto_configure_optimizers=False,
        args=args,
    )


def _speak() -> None:
    """Let livecam's own one-line messages be seen, once, and silence what others advertise or warn about in vain."""
    log = logging.getLogger("livecam")
    if os.environ.get("LOCAL_RANK", "0") == "0" and not log.handlers:
        log.setLevel(logging.INFO)
        log.addHandler(handler := logging.StreamHandler())
        handler.setFormatter(_Printable())
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_no_advertisement)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.formatwarning = _one_line


class _Printable(logging.Formatter):
    """Names of files in what is logged command no terminal; a traceback below it keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Escape the message."""
        return printable(record.message)


def _one_line(message: Warning | str, category: type[Warning], file: str, *args: Any) -> str:
    """Our own warnings without the line of code that they come from."""
    ours = Path(__file__).parent in Path(file).parents
    return f"{printable(str(message))}\n" if ours else _format(message, category, file, *args)


def _no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def explain(args: list[str] | None = None) -> None:
    """Run ``explain.py``.

    Args:
        args: Command line; None takes the process's.
    """
    from livecam.commands.compare import Compare
    from livecam.commands.features import Features
    from livecam.commands.maps import Maps
    from livecam.commands.reclassify import Reclassify
    from livecam.commands.score import Score

    parser = ExplainParser(prog="explain.py", description="Explain trained classifiers.")
    subcommands = parser.add_subcommands()
    commands = {command.__name__.lower(): command for command in (Maps, Features, Score, Compare, Reclassify)}
    for name, command in commands.items():
        summary = inspect.getdoc(command).split("\n\nArgs:")[0].replace("``", "")
        inner = ExplainParser(description=summary)
        inner.add_command(command)
        subcommands.add_subcommand(name, inner, help=summary.splitlines()[0])
    config = parser.parse_args(args)
    _speak()
    reset_warn_once()
    # Which accelerators a trainer has found is of no interest where no training follows.
    logging.getLogger("lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        commands[config.subcommand](**config[config.subcommand].as_dict()).run()
    except Exception as error:
        if (refusal := user_error(error)) is None:
            raise
        parser.error(str(refusal), error)
