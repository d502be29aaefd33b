"""The chart of the quality bench: accuracy over the share of strong calls, as an SVG written by hand. Pure.

The picture brings its own background, which changes together with its text where the reader's scheme is dark:
it can be read on any page, also on one that does not tell its scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from quality_figures import Share
from quality_report import Report, percent

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 688, 48, 360
"""Edges of the plot in pixels."""

LABELS_X = 300
"""Where the column of labels begins: right of where a useful chain's points lie."""

LABEL_HEIGHT = 19

STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328;
  stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; paint-order: stroke; }
.page { fill: #ffffff; stroke: #d0d7de; }
.quiet { fill: #59636e; }
.title { font-weight: 600; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.lot { stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 5 4; }
.spread { stroke: #0969da; stroke-width: 1; stroke-opacity: .45; }
.leader { stroke: #59636e; stroke-width: .7; stroke-opacity: .7; fill: none; }
.chain { fill: #0969da; stroke: #ffffff; stroke-width: 1; }
.alone { fill: #59636e; }
.perfect { fill: #ffffff; stroke: #1a7f37; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; stroke: #0d1117; }
  .page { fill: #0d1117; stroke: #3d444d; }
  .quiet { fill: #9198a1; }
  .grid { stroke: #2a313c; }
  .lot, .leader { stroke: #9198a1; }
  .spread { stroke: #58a6ff; }
  .chain { fill: #58a6ff; stroke: #0d1117; }
  .alone { fill: #9198a1; }
  .perfect { fill: #0d1117; stroke: #3fb950; }
}"""


@dataclass(frozen=True, slots=True)
class Axes:
    """Turns shares (0 to 1) into pixels; the y axis begins at `low`."""

    low: float

    def x(self, share: float) -> float:
        """Return the pixel of a share of strong calls."""
        return LEFT + share * (RIGHT - LEFT)

    def y(self, accuracy: float) -> float:
        """Return the pixel of an accuracy."""
        return BOTTOM - (accuracy - self.low) / (1 - self.low) * (BOTTOM - TOP)


def chart(report: Report) -> str:
    """Return the SVG."""
    lowest = min(report.weak.value, report.strong.value, *(one.right.value for one in report.chains.values()))
    axes = Axes(low=max(0.0, math.floor((lowest - 0.02) * 10) / 10))
    alt = (
        f"{report.weak_name} alone {percent(report.weak.value)}, {report.strong_name} alone "
        f"{percent(report.strong.value)}, "
        + ", ".join(
            f"accept_at {at:g}: {percent(one.right.value)} with {percent(one.strong.value)} strong calls"
            for at, one in report.chains.items()
        )
    )
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(alt)}</title>",
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="6"/>',
        *_grid(axes),
        *_by_lot(report, axes),
        *_points(report, axes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _grid(axes: Axes) -> list[str]:
    parts = [_text(LEFT - 40, 28, "right answers", "title")]
    for step in range(round(axes.low * 20), 21):
        y = axes.y(step / 20)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 8, y + 4.5, f"{step * 5} %", "quiet", "end"))
    for tenth in range(0, 11, 2):
        x = axes.x(tenth / 10)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM + 5}"/>')
        parts.append(_text(x, BOTTOM + 21, f"{tenth * 10} %", "quiet", "middle"))
    parts.append(_text(RIGHT, BOTTOM + 44, "runs that called the strong model", "title", "end"))
    return parts


def _by_lot(report: Report, axes: Axes) -> list[str]:
    left, right = axes.y(report.weak.value), axes.y(report.strong.value)
    return [
        f'<line class="lot" x1="{axes.x(0):.1f}" y1="{left:.1f}" x2="{axes.x(1):.1f}" y2="{right:.1f}"/>',
        _text(axes.x(0.62), axes.y(report.by_lot(0.58)) + 22, "escalated by lot", "quiet"),
        _text(axes.x(0) + 12, left + 16, f"{report.weak_name} alone: {percent(report.weak.value)}"),
        _text(
            axes.x(1), right - 12, f"{report.strong_name} alone: {percent(report.strong.value)}", "", "end"
        ),
        _dot(axes.x(0), left, "alone"),
        _dot(axes.x(1), right, "alone"),
    ]


def _points(report: Report, axes: Axes) -> list[str]:
    """Draw the chain's points and the perfect one, each with a line to its label in the column."""
    marked = [(f"accept_at {at:g}: {percent(one.right.value)}", one) for at, one in report.chains.items()]
    marked.append((f"a perfect verifier: {percent(report.perfect.right.value)}", report.perfect))
    marked.sort(key=lambda pair: (-pair[1].right.value, -pair[1].strong.value))
    heights = spread_out([axes.y(one.right.value) for _, one in marked])
    parts = [_interval(axes, one.strong.value, one.right) for one in report.chains.values()]
    dots = []
    for (label, one), height in zip(marked, heights, strict=True):
        x, y = axes.x(one.strong.value), axes.y(one.right.value)
        parts.append(
            f'<path class="leader" d="M{x:.1f} {y:.1f} L{LABELS_X - 20} {height:.1f} H{LABELS_X - 6}"/>'
        )
        parts.append(_text(LABELS_X, height + 4.5, label))
        dots.append(_diamond(x, y) if one is report.perfect else _dot(x, y, "chain"))
    return parts + dots


def _interval(axes: Axes, share: float, right: Share) -> str:
    low, high = right.interval
    x = axes.x(share)
    return f'<line class="spread" x1="{x:.1f}" x2="{x:.1f}" y1="{axes.y(low):.1f}" y2="{axes.y(high):.1f}"/>'


def spread_out(heights: Sequence[float], gap: float = LABEL_HEIGHT) -> list[float]:
    """Return heights for labels, in the order given (rising), at least `gap` apart, near those wanted.

    Labels that touch form a group around the mean of what they want; groups that then touch are joined.
    """
    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and _places(groups[-2], gap)[-1] + gap > _places(groups[-1], gap)[0]:
            last = groups.pop()
            groups[-1].extend(last)
    return [place for group in groups for place in _places(group, gap)]


def _places(wanted: Sequence[float], gap: float) -> list[float]:
    top = sum(wanted) / len(wanted) - gap * (len(wanted) - 1) / 2
    return [top + gap * number for number in range(len(wanted))]


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _dot(x: float, y: float, kind: str) -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'


def _diamond(x: float, y: float) -> str:
    return f'<path class="perfect" d="M{x:.1f} {y - 6:.1f} l6 6 l-6 6 l-6 -6 z"/>'
