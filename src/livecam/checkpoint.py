"""Classifiers out of checkpoints, without running any code that a file may carry."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from livecam.classifier import Classifier
from livecam.models.weights import load_state


def load_classifier(path: str | Path) -> Classifier:
    """Load a trained classifier in eval mode on the CPU.

    Args:
        path: A Lightning checkpoint written while training a :class:`Classifier`.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is no checkpoint of a livecam classifier, or its weights do not fit it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No checkpoint at {path}: training writes them to runs/<name>/checkpoints/.")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    # Damaged files raise whatever pickle, zipfile or torch happen to trip over.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint (it is damaged, or carries code, which is never run)."
        ) from error
    settings, state = (
        content.get(key) if isinstance(content, Mapping) else None for key in ("hyper_parameters", "state_dict")
    )
    if not isinstance(settings, Mapping) or "model" not in settings or not isinstance(state, Mapping):
        raise ValueError(f"{path} holds no classifier: pass a .ckpt file of train.py, or --model with --weights FILE.")
    known = inspect.signature(Classifier).parameters
    try:
        # The checkpoint brings its weights; those that training started from may be gone.
        classifier = Classifier(**{key: value for key, value in settings.items() if key in known} | {"weights": None})
    except (ValueError, TypeError) as error:
        raise ValueError(f"The classifier in {path} cannot be built: {error}") from error
    load_state(classifier, dict(state), set(), str(path), settings["model"])
    return classifier.eval()
