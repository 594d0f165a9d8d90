"""Line and bar charts as SVG text. No dependency; every label is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280", "#4a5568", "#975a16", "#0987a0")
WIDE, HIGH, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 78, 48, 24, 56  # pixels; the legend is inside


@dataclass(frozen=True)
class Series:
    """A line, and a band around it: (low point, high point) pairs."""

    name: str
    points: list[Point]
    band: list[tuple[Point, Point]] = field(default_factory=list[tuple[Point, Point]])


def lines(title: str, series: list[Series], x_name: str, y_name: str, *, log: bool = False) -> str:
    """A chart of lines; log: the vertical axis is logarithmic."""
    series = [one for one in series if one.points]
    if not series:
        return _empty(title)
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in [*one.points, *(p for pair in one.band for p in pair)]]
    low, high = _log_range(min(ys), max(ys)) if log else _round_range(min(ys), max(ys))
    left, right = min(xs), max(max(xs), min(xs) + 1)

    def at(point: Point) -> Point:
        across = (point[0] - left) / (right - left)
        y = max(point[1], low) if log else point[1]
        up = math.log(y / low) / math.log(high / low) if log else (y - low) / (high - low)
        return LEFT + across * (WIDE - LEFT - RIGHT), HIGH - BOTTOM - up * (HIGH - TOP - BOTTOM)

    body = [_axes(at, left, right, _decades(low, high) if log else _steps(low, high), x_name, y_name)]
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        if one.band:
            edge = [at(a) for a, _ in one.band] + [at(b) for _, b in reversed(one.band)]
            body.append(f'<polygon points="{_joined(edge)}" fill="{colour}" opacity="0.15"/>')
        points = [at(p) for p in one.points]
        body.append(f'<polyline points="{_joined(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= 40:
            body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        body.append(_text(WIDE - RIGHT - 22, TOP + 14 + 18 * number, one.name, anchor="end"))
        body.append(f'<rect x="{WIDE - RIGHT - 16}" y="{TOP + 5 + 18 * number}" width="12" height="10" fill="{colour}"/>')
    return _page(title, body, HIGH)


def bars(title: str, groups: list[tuple[str, list[tuple[str, int]]]]) -> str:
    """A chart of groups of horizontal bars, each with its number; lengths are logarithmic."""
    if not groups:
        return _empty(title)
    most = max([count for _, group in groups for _, count in group] + [1])
    body, y, begin = list[str](), TOP + 8, 190
    for name, group in groups:
        body.append(_text(20, y + 12, name, bold=True))
        y += 22
        for number, (label, count) in enumerate(group):
            long = (WIDE - begin - 110) * math.log1p(count) / math.log1p(most)
            body.append(_text(begin - 8, y + 12, label, anchor="end"))
            body.append(
                f'<rect x="{begin}" y="{y + 1}" width="{long:.1f}" height="14" fill="{COLOURS[number % len(COLOURS)]}"/>'
            )
            body.append(_text(begin + long + 6, y + 12, f"{count:,}"))
            y += 19
        y += 12
    return _page(title, [*body, _text(begin, y + 8, "lengths are logarithmic", grey=True)], y + 24)


def _axes(at: Callable[[Point], Point], left: float, right: float, ticks: list[float], x_name: str, y_name: str) -> str:
    out = []
    for tick in ticks:
        _, y = at((left, tick))
        out.append(f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e8f0"/>')
        out.append(_text(LEFT - 8, y + 4, f"{tick:,.4g}" if tick < 1000 else f"{tick:,.0f}", anchor="end"))
    for tick in _whole(left, right):
        x, _ = at((tick, ticks[0]))
        out.append(_text(x, HIGH - BOTTOM + 18, f"{tick:,.0f}", anchor="middle"))
    out.append(_text((LEFT + WIDE - RIGHT) / 2, HIGH - 14, x_name, anchor="middle", grey=True))
    middle = (TOP + HIGH - BOTTOM) / 2
    out.append(f'<g transform="rotate(-90 18 {middle})">{_text(18, middle, y_name, anchor="middle", grey=True)}</g>')
    return "".join(out)


def _log_range(low: float, high: float) -> tuple[float, float]:
    """From the decade below the lowest value to a little above the highest, a decade at least."""
    start = 10.0 ** math.floor(math.log10(max(low, 1e-9)))
    return start, max(10 * start, 1.3 * high)


def _round_range(low: float, high: float) -> tuple[float, float]:
    step = _step((high - low) / 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return first * step, max(last, first + 1) * step


def _steps(low: float, high: float) -> list[float]:
    count = round((high - low) / _step((high - low) / 6))
    return [low + (high - low) * n / count for n in range(count + 1)]


def _decades(low: float, high: float) -> list[float]:
    return [10.0**n for n in range(round(math.log10(low)), math.floor(math.log10(high)) + 1)]


def _whole(left: float, right: float) -> list[float]:
    """Round whole numbers from left to right, eight at most."""
    step = max(1.0, _step((right - left) / 7))
    return [n * step for n in range(math.ceil(left / step), math.floor(right / step) + 1)]


def _step(rough: float) -> float:
    """The least of 1, 2, 5, 10, 20, ... (and of tenths and so on) that is no less, but for rounding."""
    rough = max(rough, 1e-9) * (1 - 1e-9)
    tens = 10.0 ** math.floor(math.log10(rough))
    return next(tens * n for n in (1, 2, 5, 10) if tens * n >= rough)


def _joined(points: list[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False, grey: bool = False) -> str:
    look = ' font-weight="bold"' if bold else ""
    colour = "#718096" if grey else "#1a202c"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{look}>{escape(text)}</text>'


def _empty(title: str) -> str:
    return _page(title, [_text(WIDE / 2, 90, "nothing to show", anchor="middle", grey=True)], 140)


def _page(title: str, body: list[str], high: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high:.0f}" width="{WIDE}" height="{high:.0f}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/><text x="20" y="28" font-size="16" font-weight="bold">'
        f"{escape(title)}</text>{''.join(body)}</svg>\n"
    )
