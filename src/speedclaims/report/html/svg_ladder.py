"""A ladder drawn as a waterfall: each switch's bar begins where the row above ended, and the last bar is the whole."""

from collections.abc import Iterator
from html import escape
from itertools import accumulate, pairwise
from typing import Final

from speedclaims.report.html.svg import LINE, LogAxis, hand_drawn, is_drawable, lines_svg, text_svg, wrapped
from speedclaims.report.model.formatting import format_bound
from speedclaims.report.model.ladder import FASTER, SLOWER, Factor, Ladder, Rung

_WIDTH: Final = 1000.0
_LEFT: Final = 230.0
_RIGHT: Final = 660.0
_STEP: Final = 830.0
_ROW: Final = 30.0
_HEAD: Final = 24.0
_FOOT: Final = 26.0
_BAR: Final = 14.0
_TEXT: Final = 4.5
_LABEL: Final = 32
_REASON: Final = 100
_WHOLE: Final = "all on"
_STYLES: Final = {FASTER: "faster", SLOWER: "slower"}


def waterfall_svg(ladder: Ladder, noise: float | None) -> str:
    """Draw a ladder from no switch to all of them on a logarithmic axis of the speedup against the before side.

    A bar reaches from the row above's speedup to its own, with the interval of its own as a whisker; what was not
    measured has words instead. Colours are the page's, by class, and the words next to a bar say the same.
    """
    plot = _Plot(ladder, noise)
    told = "; ".join(f"{rung.label} {rung.speedup.told}" for rung in ladder.rungs)
    title = f"{ladder.title} {ladder.under}: {told}"
    return hand_drawn("waterfall", _WIDTH, plot.height, title, "".join(plot.parts()))


class _Plot:
    """The drawing of one ladder."""

    def __init__(self, ladder: Ladder, noise: float | None) -> None:
        self._ladder, self._noise = ladder, noise
        values = (value for rung in ladder.rungs for value in _numbers(rung.speedup))
        self._scale = LogAxis((value for value in values if is_drawable(value)), _LEFT, _RIGHT)
        tops = list(accumulate(map(_height, ladder.rungs), initial=_HEAD))
        self._middles = [(top + below) / 2 for top, below in pairwise([*tops, tops[-1] + _ROW])]
        self._bottom = tops[-1] + _ROW
        self.height = self._bottom + _FOOT

    def parts(self) -> Iterator[str]:
        """Yield the axis, then the rows from the top."""
        yield from self._axis()
        start: float | None = 1.0
        for middle, rung in zip(self._middles, self._ladder.rungs, strict=False):
            yield self._row(middle, rung, start)
            start = rung.speedup.value
        whole = self._ladder.whole
        if is_drawable(whole.value):
            yield self._total(self._middles[-1], whole)

    def _axis(self) -> Iterator[str]:
        for tick in self._scale.ticks():
            x = self._scale.place(tick)
            style = "one" if tick == 1 else "grid"
            yield f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{_HEAD:.0f}" y2="{self._bottom:.1f}"/>'
            yield text_svg(x, self._bottom + 16, f"{format_bound(tick)}x", style="tick", anchor="middle")
        yield text_svg(_RIGHT + 20, _HEAD - 10, "speedup", style="tick")
        yield text_svg(_STEP + 20, _HEAD - 10, "step", style="tick")

    def _row(self, middle: float, rung: Rung, start: float | None) -> str:
        seen = _STYLES.get(rung.step.seen(self._noise), "untold")
        body = f"<title>{escape(f'{rung.label}: {rung.speedup.told}; step {rung.step.told}; {rung.verdict}')}</title>"
        body += lines_svg(0, middle, _plain(rung.label, _LABEL))
        if is_drawable(rung.speedup.value):
            if is_drawable(start):
                body += self._bar(start, rung.speedup.value, middle)
            body += self._whisker(rung.speedup, middle)
            body += text_svg(_RIGHT + 20, middle + _TEXT, rung.speedup.ratio)
            body += text_svg(_STEP + 20, middle + _TEXT, rung.step.ratio or "\u2013")
        else:
            body += lines_svg(_LEFT + 8, middle, _plain(rung.speedup.told, _REASON, "tick"))
        return f'<g class="{seen}">{body}</g>'

    def _total(self, middle: float, whole: Factor) -> str:
        body = f"<title>{escape(f'{_WHOLE}: {whole.told}')}</title>"
        body += text_svg(0, middle + _TEXT, _WHOLE)
        body += self._bar(1.0, whole.value or 1.0, middle) + self._whisker(whole, middle)
        return f'<g class="whole">{body}{text_svg(_RIGHT + 20, middle + _TEXT, whole.ratio)}</g>'

    def _bar(self, start: float, end: float, middle: float) -> str:
        left, right = sorted((self._scale.place(start), self._scale.place(end)))
        size = f'width="{max(1.5, right - left):.1f}" height="{_BAR:.0f}"'
        return f'<rect x="{left:.1f}" y="{middle - _BAR / 2:.1f}" {size}/>'

    def _whisker(self, factor: Factor, middle: float) -> str:
        if not (is_drawable(factor.low) and is_drawable(factor.high)):
            # there is a point, but nobody knows how sure it is
            return f'<circle cx="{self._scale.place(factor.value or 1.0):.1f}" cy="{middle:.1f}" r="4"/>'
        left, right = self._scale.place(factor.low), self._scale.place(factor.high)
        right = max(left + 1, right)
        lines = [(left, right, middle, middle), *((x, x, middle - 5, middle + 5) for x in (left, right))]
        return "".join(
            f'<line class="whisker" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'
            for x1, x2, y1, y2 in lines
        )


def _plain(text: str, width: int, style: str = "") -> list[tuple[str, str]]:
    return [(line, style) for line in wrapped(text, width)]


def _height(rung: Rung) -> float:
    reason = "" if is_drawable(rung.speedup.value) else rung.speedup.told
    return _ROW + LINE * (max(len(wrapped(rung.label, _LABEL)), len(wrapped(reason, _REASON))) - 1)


def _numbers(factor: Factor) -> Iterator[float]:
    yield from (value for value in (factor.low, factor.value, factor.high) if value is not None)
