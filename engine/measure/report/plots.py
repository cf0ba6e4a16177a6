"""Plots as inline SVG, in the page's own colours: solid and round is the result, open and square what it is beside."""

import math
from collections.abc import Callable, Sequence

from msgspec import Struct

from engine.measure.report.markup import Markup, join, tag

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 80, 34, 40


class Bar(Struct, frozen=True):
    """A bar and what is written behind it; `main` is the result's."""

    label: str
    value: float
    words: str
    main: bool = True


class Series(Struct, frozen=True):
    """A line through (x, y, low, high); low and high are None where they are not known."""

    label: str
    points: Sequence[tuple[float, float, float | None, float | None]]
    main: bool = True


class Point(Struct, frozen=True):
    """A result in the scatter: more is better of `x` and `y`; `weight`, drawn as area, is what it takes."""

    label: str
    x: float
    y: float
    weight: float
    words: str
    main: bool = True


def bars(title: str, shown: Sequence[Bar]) -> Markup:
    """Horizontal bars from 0, one under the other."""
    shown = [bar for bar in shown if math.isfinite(bar.value)]
    most = max((bar.value for bar in shown), default=0) or 1.0
    left, room, step = 120, WIDTH - 120 - 70, 26
    parts = []
    for row, bar in enumerate(shown):
        y, length = 6 + row * step, max(room * max(bar.value, 0) / most, 1)
        parts += [
            _words(left - 10, y + 13, _cut(bar.label, 18), "end"),
            tag("rect", x=left, y=y, width=_at(length), height=18, rx=2, class_=_kind("bar", bar.main)),
            _words(left + length + 7, y + 13, bar.words, "start", "value"),
        ]
    told = "; ".join(f"{bar.label}: {bar.words}" for bar in shown)
    return _svg(title, told, WIDTH, 8 + step * len(shown), parts)


def lines(title: str, x_title: str, y_title: str, series: Sequence[Series]) -> Markup:
    """Lines with their intervals, y from 0, x logarithmic where it spans much; each is named at its end."""
    points = [point for each in series for point in each.points]
    if not points:
        return Markup("")
    xs = sorted({point[0] for point in points})
    x, y, axes = _axes(x_title, y_title, xs, _nice_ticks(0, max(point[3] or point[1] for point in points)))
    parts, labels = [axes], []
    for each in series:
        path = " ".join(f"{_at(x(point[0]))},{_at(y(point[1]))}" for point in each.points)
        parts.append(tag("polyline", points=path, class_=_kind("line", each.main)))
        for at, value, low, high in each.points:
            if low is not None and high is not None:
                span = {"y1": _at(y(max(low, 0))), "y2": _at(y(high))}
                parts.append(tag("line", x1=_at(x(at)), x2=_at(x(at)), **span, class_=_kind("span", each.main)))
            parts.append(_mark(x(at), y(value), 3.5, each.main))
        labels.append((x(each.points[-1][0]) + 9, y(each.points[-1][1]) + 4, each.label, each.main))
    told = "; ".join(
        f"{each.label}: " + ", ".join(f"{point[1]:.3g} at {point[0]:g}" for point in each.points) for each in series
    )
    return _svg(title, f"{y_title} over {x_title}. {told}.", WIDTH, HEIGHT, [*parts, *_labels(labels)])


def front(title: str, x_title: str, y_title: str, points: Sequence[Point]) -> Markup:
    """Results as circles, and a line through those that no other beats in everything."""
    if not points:
        return Markup("")
    x, y, axes = _axes(
        x_title,
        y_title,
        _nice_ticks(0, max(point.x for point in points)),
        _nice_ticks(min(point.y for point in points), max(point.y for point in points)),
    )
    best = sorted((point for point in points if not any(_beats(other, point) for other in points)), key=lambda p: p.x)
    path = " ".join(f"{_at(x(point.x))},{_at(y(point.y))}" for point in best)
    parts, labels = [axes, tag("polyline", points=path, class_="front")], []
    most = max(point.weight for point in points) or 1.0
    for point in points:
        radius = 4 + 12 * math.sqrt(max(point.weight, 0) / most)
        parts.append(_mark(x(point.x), y(point.y), radius, point.main))
        labels.append((x(point.x) + radius + 4, y(point.y) + 4, point.label, point.main))
    names = ", ".join(point.label for point in best)
    told = "; ".join(f"{each.label}: {each.x:.3g}, {each.y:.3g}, {each.words}" for each in points)
    return _svg(title, f"{told}. Beaten by none: {names}.", WIDTH, HEIGHT, [*parts, *_labels(labels)])


def gauge(title: str, found: tuple[float, float, float], least: float | None, most: float | None) -> Markup:
    """A value in its interval (low, value, high), before the band in which a gate passes."""
    width, height, middle = 150, 26, 13
    edges = [edge for edge in (*found, least, most) if edge is not None]
    pad = 0.22 * (max(edges) - min(edges)) or max(abs(edges[0]) * 0.1, 0.1)
    begin, end = min(edges) - pad, max(edges) + pad

    def x(value: float) -> float:
        return 2 + (width - 4) * (value - begin) / (end - begin)

    first, last = x(begin if least is None else least), x(end if most is None else most)
    low, value, high = map(x, found)
    parts = [
        tag("line", x1=2, x2=width - 2, y1=middle, y2=middle, class_="axis"),
        tag("rect", x=_at(first), y=4, width=_at(last - first), height=height - 8, class_="allowed"),
        *(tag("line", x1=_at(edge), x2=_at(edge), y1=2, y2=height - 2, class_="bound")
          for edge, bound in ((first, least), (last, most)) if bound is not None),
        tag("line", x1=_at(low), x2=_at(high), y1=middle, y2=middle, class_="span main"),
        _mark(value, middle, 4, True),
    ]  # fmt: skip
    return _svg(title, "", width, height, parts)


def _beats(one: Point, other: Point) -> bool:
    better = (one.x >= other.x, one.y >= other.y, one.weight <= other.weight)
    return all(better) and (one.x, one.y, one.weight) != (other.x, other.y, other.weight)


def _axes(
    x_title: str, y_title: str, xs: Sequence[float], ys: Sequence[float]
) -> tuple[Callable[[float], float], Callable[[float], float], Markup]:
    """Where x and y lie, and the axes with their ticks."""
    wide = xs[0] > 0 and xs[-1] / xs[0] > 8
    left, right, (low, high) = _scale(xs[0], wide), _scale(xs[-1], wide), (ys[0], ys[-1])

    def x(value: float) -> float:
        share = (_scale(value, wide) - left) / (right - left) if right > left else 0.5
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def y(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    bottom, parts = HEIGHT - BOTTOM, []
    for tick in ys:
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_at(y(tick)), y2=_at(y(tick)), class_="grid"))
        parts.append(_words(LEFT - 7, y(tick) + 4, f"{tick:g}", "end"))
    parts.append(_words(0, 11, y_title, "start"))
    free = -math.inf
    for tick in xs:
        if x(tick) >= free:  # names that would touch are left out
            parts.append(_words(x(tick), bottom + 16, f"{tick:g}", "middle"))
            free = x(tick) + 34
    parts.append(_words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_title, "middle"))
    parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
    return x, y, join(parts)


def _scale(value: float, wide: bool) -> float:
    return math.log(value) if wide else value


def _nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from just below `low` to just above `high`."""
    span = (high - low) / count or abs(high) / count or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def _labels(labels: Sequence[tuple[float, float, str, bool]]) -> list[Markup]:
    """Names beside what they name, moved apart where they would touch."""
    placed, last = [], -math.inf
    for x, y, label, main in sorted(labels, key=lambda each: each[1]):
        last = max(y, last + 14)
        placed.append(_words(x, last, _cut(label, 12), "start", _kind("label", main)))
    return placed


def _mark(x: float, y: float, radius: float, main: bool) -> Markup:
    if main:
        return tag("circle", cx=_at(x), cy=_at(y), r=_at(radius), class_="mark main")
    side = 1.8 * radius
    return tag("rect", x=_at(x - side / 2), y=_at(y - side / 2), width=_at(side), height=_at(side), class_="mark")


def _words(x: float, y: float, words: str, anchor: str, kind: str = "") -> Markup:
    return tag("text", words, x=_at(x), y=_at(y), text_anchor=anchor, **({"class_": kind} if kind else {}))


def _svg(title: str, told: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    about = [tag("title", title), *([tag("desc", told)] if told else [])]
    return tag("svg", *about, *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=title)


def _kind(name: str, main: bool) -> str:
    return f"{name} main" if main else name


def _at(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _cut(label: str, most: int) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"
