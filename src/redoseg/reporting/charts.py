"""A run's curves as line charts, drawn as SVG: no script, no library, colours from the page's own style."""

from collections.abc import Mapping, Sequence
from html import escape

from redoseg.models.run_log import Points

_WIDTH, _HEIGHT = 460, 190  # of the picture
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 22  # margins of the plot in it
_MOST = 400  # points of a line: of longer ones every k-th is drawn


def draw_chart(title: str, lines: Mapping[str, Points]) -> str:
    """A chart as SVG."""
    points = [point for line in lines.values() for point in line]
    last = max(x for x, _ in points)
    low, high = _range([y for _, y in points])

    def place(point: tuple[float, float]) -> str:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (point[0] / max(last, 1))
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * ((high - point[1]) / (high - low))
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        for value in (low, (low + high) / 2, high)
        for y in [_TOP + (_HEIGHT - _TOP - _BOTTOM) * ((high - value) / (high - low))]
    ]
    parts += [
        f'<text x="{x}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{text}</text>'
        for x, anchor, text in ((_LEFT, "start", "0"), (_WIDTH - _RIGHT, "end", f"step {last:.0f}"))
    ]
    for number, line in enumerate(lines.values()):
        every = -(-len(line) // _MOST)
        shown = [*line[::every], line[-1]]
        parts.append(f'<polyline class="c{number % 6}" points="{" ".join(map(place, shown))}"/>')
    legend = "".join(
        f'<span><i class="c{number % 6}"></i>{escape(name)} {line[-1][1]:.3g}</span>'
        for number, (name, line) in enumerate(lines.items())
    )
    label = escape(f"{title}: {', '.join(lines)}", quote=True)
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        f'<p class="legend">{legend}</p></figure>'
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if high > low else (low - 1, high + 1)
