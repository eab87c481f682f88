"""Small line charts as SVG, legible on light pages and on dark ones."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 96, 40, 48
# Color-blind safe on both backgrounds (Okabe and Ito, lightened where needed); livecam stands out by its width, too.
COLORS = {"bare": "#8a8f98", "livecam": "#d55e00", "torchcam": "#2f8fd0", "grad-cam": "#1f9e77", "captum": "#b8659c"}
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 13px }
.grid { stroke: #d0d7de } @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .grid { stroke: #3d444d } }
"""
LINE_APART = 14


def nice_step(span: float, most: int = 5) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that cuts a span into at most ``most`` parts."""
    power = 10 ** floor(log10(span / most))
    return next(step for factor in (1, 2, 5, 10, 20) if (step := factor * power) * most >= span)


def spread(places: Sequence[float], apart: float) -> list[float]:
    """The same places in the same order, moved upwards, off the axis, until neighbors are so far apart."""
    moved, last = list(places), float("inf")
    for index in sorted(range(len(places)), key=places.__getitem__, reverse=True):
        last = moved[index] = min(places[index], last - apart)
    return moved


def line_chart(
    title: str, x_label: str, y_label: str, x: Sequence[float], lines: dict[str, Sequence[float | None]]
) -> str:
    """Draw lines from zero; each is named at its end.

    Args:
        title: What is measured on what.
        x_label: What ``x`` counts.
        y_label: Unit of the values.
        x: Places, ascending.
        lines: Values by name; None where there is none.
    """
    top = max(value for values in lines.values() for value in values if value is not None) or 1
    step = nice_step(top)
    top = ceil(top / step) * step

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value / max(x))

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / top)

    parts = [f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>']
    parts.append(f'<text x="8" y="{TOP - 8}">{escape(y_label)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{escape(x_label)}</text>')
    for tick in range(round(top / step) + 1):
        y = down(tick * step)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick * step:,g}</text>')
    parts += [f'<text x="{across(v):.1f}" y="{HEIGHT - 28}" text-anchor="middle">{v:g}</text>' for v in x]
    ends = {}
    for name, values in lines.items():
        points = [(across(place), down(value)) for place, value in zip(x, values) if value is not None]
        color, width = COLORS.get(name, "#8a8f98"), 3 if name == "livecam" else 1.8
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{width}" fill="{color}"/>' for px, py in points]
        ends[name] = points[-1]
    heights = spread([py + 4 for _, py in ends.values()], LINE_APART)
    for (name, (px, _)), y in zip(ends.items(), heights):
        weight = ' font-weight="600"' if name == "livecam" else ""
        style = f'style="fill: {COLORS.get(name, "#8a8f98")}"'
        parts.append(f'<text x="{px + 8:.1f}" y="{y:.1f}" {style}{weight}>{escape(name)}</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )
