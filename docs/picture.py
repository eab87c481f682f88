"""Make the README's picture from a finished demo: ``uv run docs/picture.py runs/<name>``."""

import sys
from pathlib import Path

from PIL import Image

strips = sorted(
    Path(sys.argv[1], "media").glob("explanations-gallery-*-*.jpg"),
    key=lambda file: [int(number) for number in file.stem.split("-")[-2:]],
)
# The last gallery, one strip per class: samples are sorted by class, two of each.
pictures = [Image.open(file) for file in strips[-8::2]]
whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
for number, picture in enumerate(pictures):
    whole.paste(picture, (0, sum(p.height for p in pictures[:number])))
whole.save(Path(__file__).with_name("gallery.jpg"), quality=90)
