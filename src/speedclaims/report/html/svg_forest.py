"""Draw speedups with their intervals as a forest plot."""

import io
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from speedclaims.report.model.formatting import clean, format_bound, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
from speedclaims.report.html.svg import (
    _AXIS_HEIGHT,
    _CLAIMED,
    _FONT,
    _FONT_FAMILY,
    _INK,
    _LABEL_WIDTH,
    _LINE,
    _MARKS,
    _MAX_LABEL,
    _MUTED,
    _NOISE,
    _PAPER,
    _ROW_HEIGHT,
    _SMALL_SIZE,
    _TEXT_SIZE,
    _THEME,
    _TOP,
    _VALUE_WIDTH,
    _WIDTH,
    axis_limits,
    axis_ticks,
    is_drawable,
)


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
