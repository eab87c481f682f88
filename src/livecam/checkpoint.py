"""Classifiers out of checkpoints, without running any code that a file may carry."""

import inspect
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch

from livecam.classifier import Classifier


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
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, BadZipFile, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint (it is damaged, or carries code, which is never run)."
        ) from error
    settings = content.get("hyper_parameters") if isinstance(content, dict) else None
    if not settings or "state_dict" not in content:
        raise ValueError(f"{path} holds no classifier: pass a .ckpt file of train.py, or --model with --weights FILE.")
    known = inspect.signature(Classifier).parameters
    # The checkpoint brings its weights; those that training started from may be gone.
    classifier = Classifier(**{key: value for key, value in settings.items() if key in known} | {"weights": None})
    try:
        classifier.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise ValueError(f"The weights in {path} do not fit {settings.get('model')!r}. {error}") from error
    return classifier.eval()
