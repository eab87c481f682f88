"""A logger without account or server: one folder with a page that plays the explanations epoch by epoch.

``index.html`` opens from disk while the run is going and after it; it re-reads ``data.js`` beside it and shows the
pictures of ``media/``. What is logged is checked at once; files are written in the background, in order, so that
``data.js`` never names a picture that is not there.
"""

import secrets
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from livecam.core.errors import DataError
from livecam.report.html.page import Page, as_picture
from livecam.report.html.page_data import config_tree, plain_leaf


class HTMLLogger(Logger):
    """Writes ``<save_dir>/<name>[/<version>]/index.html`` with galleries, curves, a closing table and the settings.

    Only rank zero writes. A folder that already holds a run is continued: what is logged again at the same key and
    step replaces the old entry. A disk that fills up costs the page, with a warning, never the training. Nothing is
    lost when the process ends, by an exception or otherwise; a kill loses what was still to be written.

    Args:
        save_dir: Folder of all runs; made when the run starts.
        name: Folder of this run; None makes a unique one from date and time.
        version: Sub-folder for several runs of one name; an int ``n`` becomes ``version_n``, None means no sub-folder.
        title: Heading of the page; None takes the name.
    """

    def __init__(
        self,
        save_dir: str = "runs",
        name: str | None = None,
        version: int | str | None = None,
        title: str | None = None,
    ) -> None:
        super().__init__()
        self._save_dir = str(save_dir)
        # `secrets` leaves the global random state alone, and two runs of a sweep may start in the same second.
        self._name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(2)}" if name is None else str(name)
        self._version = version
        self._title = title
        self._page: Page | None = None

    @property
    def name(self) -> str:
        """Folder name of this run."""
        return self._name

    @property
    def version(self) -> int | str:
        """Version as given; an empty string without one, so that checkpoints land in ``<save_dir>/<name>``."""
        return "" if self._version is None else self._version

    @property
    def save_dir(self) -> str:
        """Folder of all runs."""
        return self._save_dir

    @property
    def log_dir(self) -> str:
        """Folder of this run."""
        version = self.version if isinstance(self.version, str) else f"version_{self.version}"
        return str(Path(self._save_dir, self._name, version))

    @property
    def path(self) -> str:
        """Where the page is: open this file in a browser."""
        return str(Path(self.log_dir, "index.html"))

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Show settings on the page; a name logged again replaces its old value.

        Args:
            params: Nested mapping or Namespace.
            args: Ignored; other loggers take metrics here.
            kwargs: Ignored.
        """
        data = self._open().data
        data.config = [list(pair) for pair in {**dict(data.config), **dict(config_tree(params))}.items()]
        self._page.write()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add one point per key; ``data.js`` follows within about a second.

        Args:
            metrics: Scalars by key; ``epoch`` tells the page which epoch a step belongs to.
            step: Defaults to the step after the last one.

        Raises:
            DataError: When a value is not one number.
        """
        data = self._open().data
        data.step = data.step + 1 if step is None else int(step)
        for key, value in metrics.items():
            try:
                number = float(value)
            except (TypeError, ValueError, RuntimeError) as error:
                raise DataError(f"Metric {key!r} must be one number, not {value!r}.") from error
            data.metrics.setdefault(str(key), {})[data.step] = number
        self.save()

    @rank_zero_only
    def log_image(
        self, key: str, images: Sequence[Any], step: int | None = None, caption: Sequence[str] | None = None
    ) -> None:
        """Add the pictures of one step; the page lays the n-th picture of every step over the others.

        Args:
            key: Name of the gallery.
            images: uint8 arrays or tensors ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``, or PIL images.
            step: Global step; defaults to the one last logged. Step 0 is the untrained net.
            caption: One text per picture.

        Raises:
            DataError: When a picture has another form, or pictures and captions differ in number.
        """
        captions = [""] * len(images) if caption is None else [str(text) for text in caption]
        if len(captions) != len(images):
            raise DataError(f"{key!r} has {len(images)} pictures but {len(captions)} captions: give one each.")
        pictures = [as_picture(image, f"Picture {index} of {key!r}") for index, image in enumerate(images)]
        data = self._open().data
        data.step = max(data.step, 0) if step is None else int(step)
        self._page.show(str(key), data.step, list(zip(pictures, captions)))

    @rank_zero_only
    def log_table(self, key: str, columns: Sequence[str], data: Sequence[Sequence[Any]]) -> None:
        """Show a table; logged again under the same key it is replaced.

        Args:
            key: Heading of the table.
            columns: Column names.
            data: Rows of text and numbers.

        Raises:
            DataError: When a row is not as long as the columns.
        """
        rows = [[plain_leaf(cell) for cell in row] for row in data]
        for index, row in enumerate(rows):
            if len(row) != len(columns):
                raise DataError(f"Row {index} of table {key!r} has {len(row)} cells for {len(columns)} columns.")
        table = {"columns": [str(column) for column in columns], "rows": rows}
        self._open().data.tables[str(key)] = table
        self._page.write()

    @rank_zero_only
    def discard_from(self, step: int) -> None:
        """Forget what a killed training logged from ``step`` on, since the resumed one logs it again, or never.

        Args:
            step: The step that is logged next.
        """
        self._open().discard_from(step)

    @rank_zero_only
    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Draw nothing: Lightning calls this when a run starts, and the page says so."""
        self._open().data.status = "running"
        self._page.write()

    @rank_zero_only
    def save(self) -> None:
        """Bring ``data.js`` up to date unless that happened within the last second; Lightning calls this often."""
        if self._open().due:
            self._page.write()

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Keep page and checkpoint level, so that a resumed run finds no gap before its first step."""
        self._open().flush()

    @rank_zero_only
    def flush(self) -> None:
        """Return when everything logged so far is on the disk."""
        if self._page is not None:
            self._page.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the page as finished (``success``) or failed (anything else); returns when it is on the disk."""
        if self._page is not None:
            self._page.data.status = "finished" if status in ("success", "finished") else "failed"
            self._page.flush()

    def _open(self) -> Page:
        """Make the folder and the page on first use, with the history that is there already."""
        if self._page is None:
            folder = Path(self.log_dir)
            self._page = Page(folder, self._title, self._name or folder.name)
        return self._page
