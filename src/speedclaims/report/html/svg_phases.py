"""Draw the phases of a call as bars."""

from html import escape

from speedclaims.report.model.phases import _BAR_HEIGHT, _LETTER_WIDTH, _WIDTH, SideBar, format_share


def phases_svg(bar: SideBar, longest: float) -> str:
    """Draw one side as a stacked bar, as long as its time is of the longest of its pair.

    Colours are the page's, by class. A segment that has room says its share; all of them have a title.
    """
    width = _WIDTH * bar.seconds / longest if longest > 0 else 0.0
    body, start = "", 0.0
    for segment in bar.segments:
        length = width * segment.share
        body += (
            f'<g class="{segment.style}"><title>{escape(segment.told)}</title>'
            f'<rect x="{start:.1f}" y="0" width="{length:.1f}" height="{_BAR_HEIGHT:.0f}"/>'
        )
        text = format_share(segment.share)
        if length > _LETTER_WIDTH * (len(text) + 2):
            body += f'<text x="{start + length / 2:.1f}" y="15">{escape(text)}</text>'
        body += "</g>"
        start += length
    name = escape(f"{bar.side}, {bar.label}: {bar.told}")
    size = f'viewBox="0 0 {_WIDTH:.0f} {_BAR_HEIGHT:.0f}"'
    return f'<svg class="phases" {size} role="img" aria-label="{name}"><title>{name}</title>{body}</svg>'
