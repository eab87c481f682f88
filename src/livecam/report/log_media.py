"""Pictures and tables to whatever loggers a trainer has; the only place that knows W&B."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from PIL import Image

from livecam.core.files import encode_jpeg

_log = logging.getLogger(__name__)
_told: set[str] = set()


def log_images(logger: Logger, key: str, images: Sequence[np.ndarray], captions: Sequence[str], step: int) -> None:
    """Log a gallery.

    In W&B the pictures wait for the next scalar that Lightning logs, so that one history row holds both: never pass a
    step to it, never let it commit a row of its own.

    Args:
        logger: Any Lightning logger; one that takes no pictures is named once in the log.
        key: Media key, such as ``explanations/gallery``.
        images: uint8 arrays ``(h, w, 3)``.
        captions: One text per image.
        step: The step that Lightning's scalars of this moment carry.
    """
    if isinstance(logger, WandbLogger):
        with _jpegs(images, captions) as pictures:
            logger.experiment.log({key: pictures, "trainer/global_step": step}, commit=False)
    elif isinstance(logger, TensorBoardLogger):
        for number, image in enumerate(images):
            logger.experiment.add_image(f"{key}/{number}", image, step, dataformats="HWC")
            logger.experiment.add_text(f"{key}/{number}", captions[number], step)
    elif hasattr(logger, "log_image"):
        logger.log_image(key, list(images), step=step, caption=list(captions))
    elif type(logger).__name__ not in _told:
        _told.add(type(logger).__name__)
        _log.warning("%s takes no pictures; galleries go to the other loggers.", type(logger).__name__)


def log_table(
    logger: Logger, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], images: Sequence[np.ndarray] = ()
) -> None:
    """Log a closing table; ``images``, where given, become W&B's first column ``picture``."""
    if isinstance(logger, WandbLogger):
        import wandb

        with _jpegs(images, [None] * len(images)) as pictures:
            if pictures:
                columns = ["picture", *columns]
                rows = [[picture, *row] for picture, row in zip(pictures, rows)]
            logger.experiment.log({key: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})
    elif hasattr(logger, "log_table"):
        logger.log_table(key, list(columns), [list(row) for row in rows])


@contextmanager
def _jpegs(images: Sequence[np.ndarray], captions: Sequence[str | None]) -> Iterator[list[Any]]:
    """W&B's images of JPEG files, which it takes a copy of when they are logged.

    The hook waits for them: its own PNGs would take many times as long, and its own JPEGs blur the edges of colors.
    """
    import wandb

    with TemporaryDirectory() as folder:
        pictures = []
        for number, (image, caption) in enumerate(zip(images, captions)):
            file = Path(folder, f"{number}.jpg")
            file.write_bytes(encode_jpeg(Image.fromarray(image)))
            pictures.append(wandb.Image(str(file), caption=caption))
        yield pictures
