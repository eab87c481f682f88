"""A callback for trainings that tests start by a launcher: every rank tells where it would write and what it scored."""

import json
import os
from pathlib import Path

from lightning import Callback, Trainer

from livecam.callbacks import ExplanationScores


class Told(Callback):
    """Writes ``told.json`` into the working folder of its process."""

    def on_fit_end(self, trainer: Trainer, pl_module) -> None:
        scores = next(callback for callback in trainer.callbacks if isinstance(callback, ExplanationScores))
        facts = {
            "rank": trainer.global_rank,
            "ranks": trainer.world_size,
            "launcher": type(trainer.strategy.cluster_environment).__name__,
            "address": os.environ["MASTER_ADDR"],
            "folders": [trainer.default_root_dir, *(str(logger.save_dir) for logger in trainer.loggers)],
            "name": trainer.loggers[0].name,
            "scores": scores.results,
        }
        Path("told.json").write_text(json.dumps(facts))
