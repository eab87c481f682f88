"""The files of the local page: ``index.html`` with style and script inside, and pictures under safe names."""

import base64
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from markupsafe import Markup
from PIL import Image

_HERE = Path(__file__).parent


def render_page(title: str) -> bytes:
    """Render ``index.html``; its policy lets the browser run only this very script and load only files beside it."""
    style, script = (_HERE / "page.css").read_text("utf-8"), ""
    for name in ("charts.js", "page.js"):
        script += (_HERE / name).read_text("utf-8")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE), autoescape=True)
    page = environment.get_template("page.html").render(
        title=title,
        style=Markup(style),
        script=Markup(script),
        style_hash=_policy_hash(style),
        script_hash=_policy_hash(script),
    )
    return page.encode("utf-8", "replace")


def as_picture(image: Any, name: str) -> Image.Image:
    """Take a picture as RGB, with pixels of its own: whoever gave it may go on to change it.

    Args:
        image: uint8 array or tensor ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``, or a PIL image.
        name: What to call it when it is refused.

    Raises:
        ValueError: When it has another form.
    """
    if not isinstance(image, Image.Image):
        array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        if array.dtype != np.uint8 or array.size == 0 or (array.ndim != 2 and array.shape[2:] not in {(3,), (4,)}):
            raise ValueError(
                f"{name} must be uint8 of shape (H, W, 3), not {array.dtype} of shape {array.shape}: "
                "scale values to 0..255 and put the channels last."
            )
        image = Image.fromarray(array)
    return image.convert("RGB")


def encode_jpeg(picture: Image.Image) -> bytes:
    """Encode an RGB picture.

    Quality 92 without chroma subsampling: on strips of photos this is far smaller and quicker than PNG
    (``benchmarks/pictures.py``), and the colours of a heat map keep their edges.
    """
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=92, subsampling=0)
    return jpeg.getvalue()


def safe_name(key: str) -> str:
    """Turn any text into a file name stem that no other text has, even where file systems ignore case."""
    stem = re.sub(r"[^a-z0-9_]+", "-", key.lower()).strip("-")[:60]
    if stem and stem.replace("-", "/") == key:
        return stem
    return f"{stem}-{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}".lstrip("-")


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
