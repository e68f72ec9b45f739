"""Drawings of a report as SVG text to be put inside a page.

Colours are the page's CSS variables, so one drawing serves light and dark; words stay text, so they can be read aloud,
selected and searched. The same rows always give the same bytes.
"""

import io
import math
import re
import statistics
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from .formatting import clean, format_bound, format_number, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib knows no CSS variables: it draws in these stand-ins, which are replaced afterwards.
_THEME: Final = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--same)",
    "#050505": "var(--less)",
    "#060606": "var(--different)",
    "#070707": "var(--claimed)",
    "#080808": "var(--paper)",
    "#090909": "var(--noise)",
}
_INK, _MUTED, _LINE, _SAME, _LESS, _DIFFERENT, _CLAIMED, _PAPER, _NOISE = _THEME
_MARKS: Final = {"same": ("o", _SAME), "less": ("v", _LESS), "different": ("D", _DIFFERENT)}
_WIDTH: Final = 1080
_LABEL_WIDTH: Final = 390
_VALUE_WIDTH: Final = 190
_ROW_HEIGHT: Final = 38
_TOP: Final = 8
_AXIS_HEIGHT: Final = 46
_TEXT_SIZE: Final = 13
_SMALL_SIZE: Final = 11.5
_MAX_LABEL: Final = 52
_MAX_POINTS: Final = 160
_NICE: Final = (
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 2.0, 5.0),
    (1.0,),
)
_FINE_STEPS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_FINE_SPAN: Final = 2.2
_MAX_TICKS: Final = 9
_MIN_HALF_SPAN: Final = 0.01
_FONT: Final = re.compile(r"font: (?:[\w-]+ )*([\d.]+px)[^;]*;")
_FONT_FAMILY: Final = re.compile(r"font-family:[^;]*;\s*")


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One row of the forest plot; ``value`` is None where there is no speedup and ``text`` then says why."""

    label: str
    sublabel: str
    text: str
    value: float | None
    low: float | None
    high: float | None
    work: str = "same"
    is_control: bool = False
    claimed: tuple[tuple[float | None, float | None], ...] = ()


def forest_svg(rows: Sequence[ForestRow], *, title: str, prefix: str = "forest", noise: float | None = None) -> str:
    """Draw speedups with their intervals on a logarithmic axis, a row each.

    A line marks 1, a band around it the noise floor, and a shaded bar in a row the range that is claimed for it.
    Returns SVG text without any outside reference; `prefix` keeps its ids apart from those of other drawings.
    """
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and needed only when a report is drawn
    from matplotlib.figure import Figure  # noqa: PLC0415 - likewise

    height = _TOP + _ROW_HEIGHT * len(rows) + _AXIS_HEIGHT
    with mpl.rc_context(), warnings.catch_warnings():
        # a label in a script that the fallback font lacks is drawn by the browser's font, not by this one
        warnings.simplefilter("ignore")
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": prefix, "font.size": _TEXT_SIZE})
        figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72)
        axes = _forest_axes(figure, rows, height)
        _draw_background(axes, rows, noise)
        for y, row in enumerate(rows):
            _draw_row(axes, y, row)
        return _inline(_svg_text(figure), prefix, title, _describe(rows))


def _forest_axes(figure: "Figure", rows: Sequence[ForestRow], height: float) -> "Axes":
    left, right = _LABEL_WIDTH / _WIDTH, 1 - _VALUE_WIDTH / _WIDTH
    bottom, top = _AXIS_HEIGHT / height, 1 - _TOP / height
    axes = figure.add_axes((left, bottom, right - left, top - bottom))
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    low, high = axis_limits(value for row in rows for value in _extent(row))
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks([])
    axes.minorticks_off()
    ticks = axis_ticks(low, high)
    axes.set_xticks(ticks, [f"{format_bound(tick)}x" for tick in ticks])
    axes.tick_params(axis="x", length=4, color=_LINE, labelcolor=_MUTED, labelsize=_SMALL_SIZE)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(_LINE)
    return axes


def _draw_background(axes: "Axes", rows: Sequence[ForestRow], noise: float | None) -> None:
    if noise:
        axes.axvspan(1 / (1 + noise), 1 + noise, color=_NOISE, linewidth=0)
    for y in range(1, len(rows)):
        axes.axhline(y - 0.5, color=_LINE, linewidth=0.6)
    axes.axvline(1, color=_INK, linewidth=1)
    places: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "va": "baseline"}
    style: dict[str, Any] = {"color": _MUTED, "fontsize": _SMALL_SIZE}
    axes.annotate("\u2190 slower", (1, 0), (-10, -37), ha="right", **places, **style)
    axes.annotate("faster \u2192", (1, 0), (10, -37), ha="left", **places, **style)


def _draw_row(axes: "Axes", y: int, row: ForestRow) -> None:
    left, right = axes.get_xlim()
    for low, high in row.claimed:
        start, end = max(left, low or left), min(right, high or right)
        axes.fill_between((start, end), y - 0.36, y + 0.36, color=_CLAIMED, linewidth=0)
    mark, color = _MARKS[row.work]
    color = _MUTED if row.is_control else color
    if row.low and row.high:
        axes.plot((row.low, row.high), (y, y), color=color, linewidth=2.4, solid_capstyle="butt")
        axes.plot((row.low, row.high), (y, y), color=color, linewidth=0, marker="|", markersize=10, markeredgewidth=1.6)
    if is_drawable(row.value):
        # without an interval the mark is hollow: there is a point, but nobody knows how sure it is
        fill = color if row.low and row.high else _PAPER
        axes.plot((row.value,), (y,), marker=mark, markersize=8, color=color, markerfacecolor=fill, markeredgewidth=1.6)
    _write_row(axes, y, row)


def _write_row(axes: "Axes", y: int, row: ForestRow) -> None:
    places: dict[str, Any] = {"textcoords": "offset points", "va": "baseline", "parse_math": False}
    start = {"xycoords": axes.get_yaxis_transform(), **places}
    label = shorten(clean(row.label), _MAX_LABEL)
    axes.annotate(label, (0, y), (-_LABEL_WIDTH, 2 if row.sublabel else -4), color=_INK, **start)
    sublabel = shorten(clean(row.sublabel), _MAX_LABEL + 10)
    axes.annotate(sublabel, (0, y), (-_LABEL_WIDTH, -13), color=_MUTED, fontsize=_SMALL_SIZE, **start)
    known = row.value is not None
    text = shorten(clean(row.text), 28 if known else 46)
    style: dict[str, Any] = {"color": _INK} if known else {"color": _MUTED, "fontsize": _SMALL_SIZE}
    axes.annotate(text, (1, y), (_VALUE_WIDTH, -4), ha="right", **style, **start)


def _extent(row: ForestRow) -> list[float]:
    bounds = [bound for range_ in row.claimed for bound in range_]
    return [value for value in (row.value, row.low, row.high, *bounds) if is_drawable(value)]


def is_drawable(value: float | None) -> TypeGuard[float]:
    """Return whether a ratio has a place on a logarithmic axis."""
    return value is not None and math.isfinite(value) and value > 0


def axis_limits(values: Iterable[float]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis that shows all values and 1, with a margin."""
    logs = [0.0, *(math.log(value) for value in values)]
    low, high = min(*logs, -_MIN_HALF_SPAN), max(*logs, _MIN_HALF_SPAN)
    margin = 0.06 * (high - low)
    return math.exp(low - margin), math.exp(high + margin)


def axis_ticks(low: float, high: float) -> list[float]:
    """Return round ratios between two ends, 1 among them when it lies there, and few enough to be read."""
    if high / low <= _FINE_SPAN:
        step = next(step for step in (*_FINE_STEPS, math.inf) if (high - low) / step <= _MAX_TICKS)
        first, last = math.ceil((low - 1) / step), math.floor((high - 1) / step)
        return [round(1 + i * step, 6) for i in range(first, last + 1)]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in _NICE:
        ticks = [round(digit * 10.0**decade, 9) for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= _MAX_TICKS:
            break
    return ticks


def _describe(rows: Sequence[ForestRow]) -> str:
    return "; ".join(f"{clean(row.label)}: {clean(row.text)}" for row in rows)


def _svg_text(figure: "Figure") -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _inline(svg: str, prefix: str, title: str, description: str) -> str:
    """Return matplotlib's file as an element of a page: no style sheet that would reach the page, no foreign id."""
    root = ET.fromstring(svg)  # noqa: S314 - written by matplotlib a moment ago, not by a stranger
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in {"metadata", "style"}:
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _reword(key, value, prefix) for key, value in element.attrib.items()}
    view_box = root.attrib["viewBox"]
    root.attrib = {
        "viewBox": view_box,
        "role": "img",
        "aria-labelledby": f"{prefix}-title",
        "class": "plot",
        "stroke-linejoin": "round",
    }
    head = f'<title id="{prefix}-title">{escape(clean(title))}</title><desc>{escape(clean(description))}</desc>'
    opening, rest = ET.tostring(root, encoding="unicode").split(">", 1)
    return f"{opening}>{head}{rest}"


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]


def _reword(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if _local(key) == "href":
        return value.replace("#", f"#{prefix}-")
    if key == "clip-path":
        return value.replace("url(#", f"url(#{prefix}-")
    if key != "style":
        return value
    for stand_in, variable in _THEME.items():
        value = value.replace(stand_in, variable)
    # the page's own font in matplotlib's size
    return _FONT_FAMILY.sub("", _FONT.sub(r"font-size: \1;", f"{value};"))


def drift_svg(log_ratios: Sequence[float], *, title: str, low: float | None, high: float | None) -> str:
    """Draw a pair's double rounds in the order in which they were measured, as departures from their median.

    The band is the speedup's interval. A trend or a step that a reader sees here is one that the interval ignores.
    Drawn by hand, for a page has one for every pair and a matplotlib figure weighs twenty times as much.
    """
    width, height, pad = 200.0, 46.0, 4.0
    values = thin(log_ratios)
    center = statistics.median(log_ratios)
    ends = [math.log(end) - center for end in (low, high) if is_drawable(end)]
    reach = max([abs(value - center) for value in values] + [abs(end) for end in ends] + [1e-6])

    def place(value: float) -> float:
        return height / 2 - value / reach * (height / 2 - pad)

    step = (width - 2 * pad) / max(1, len(values) - 1)
    points = [(pad + i * step, place(value - center)) for i, value in enumerate(values)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6"/>' for x, y in points)
    band = ""
    if len(ends) == 2:
        top, bottom = place(ends[1]), place(ends[0])
        band = f'<rect class="band" x="0" y="{top:.1f}" width="{width:.0f}" height="{max(1.0, bottom - top):.1f}"/>'
    middle = f'<line class="middle" x1="0" x2="{width:.0f}" y1="{height / 2:.1f}" y2="{height / 2:.1f}"/>'
    body = f'{band}{middle}<polyline points="{line}"/><g class="dots">{dots}</g>'
    return hand_drawn("drift", width, height, title, body)


def thin(values: Sequence[float]) -> list[float]:
    """Return at most some 160 values: medians of neighbours where there are more, which keeps drift visible."""
    size = math.ceil(len(values) / _MAX_POINTS) or 1
    return [statistics.median(values[i : i + size]) for i in range(0, len(values), size)]


def spread_text(log_ratios: Sequence[float]) -> str:
    """Return how far the double rounds lie from their median, such as ``-1.2 % to +2.3 %``."""
    center = statistics.median(log_ratios)
    least, most = (100 * (math.exp(value - center) - 1) for value in (min(log_ratios), max(log_ratios)))
    return f"\u2212{format_number(abs(least), 2)} % to +{format_number(most, 2)} %"


@dataclass(frozen=True, slots=True)
class Strip:
    """One claim's range and what was measured, as ratios."""

    low: float | None
    high: float | None
    measured: float | None
    measured_low: float | None
    measured_high: float | None
    tone: str


def strip_svg(strip: Strip, limits: tuple[float, float], *, title: str) -> str:
    """Draw what is claimed (bar) against what was measured (mark and whisker) on an axis shared by all claims."""
    width, height = 150.0, 22.0
    left, right = (math.log(limit) for limit in limits)

    def place(value: float) -> float:
        return min(1.0, max(0.0, (math.log(value) - left) / (right - left))) * width

    one = place(1.0)
    body = ""
    if strip.low is not None or strip.high is not None:
        start = place(strip.low) if is_drawable(strip.low) else 0.0
        end = place(strip.high) if is_drawable(strip.high) else width
        body += f'<rect class="claimed" x="{start:.1f}" y="4" width="{max(2.0, end - start):.1f}" height="14"/>'
    body += f'<line class="one" x1="{one:.1f}" x2="{one:.1f}" y1="0" y2="{height:.0f}"/>'
    if strip.measured_low and strip.measured_high:
        begin, stop = place(strip.measured_low), place(strip.measured_high)
        body += f'<line class="whisker" x1="{begin:.1f}" x2="{max(begin + 1, stop):.1f}" y1="11" y2="11"/>'
    if is_drawable(strip.measured):
        body += f'<circle cx="{place(strip.measured):.1f}" cy="11" r="4"/>'
    return hand_drawn(f"strip {strip.tone}", width, height, title, body)


def strip_limits(strips: Iterable[Strip]) -> tuple[float, float]:
    """Return the axis that all strips share."""
    values = (v for s in strips for v in (s.low, s.high, s.measured, s.measured_low, s.measured_high))
    return axis_limits(value for value in values if is_drawable(value))


def hand_drawn(style: str, width: float, height: float, title: str, body: str) -> str:
    """Return a small drawing as an element of a page; its colours are those of the class in the page's style sheet."""
    name = escape(clean(title))
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg class="{style}" {size} role="img" aria-label="{name}"><title>{name}</title>{body}</svg>'
