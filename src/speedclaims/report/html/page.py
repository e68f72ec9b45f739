"""A record as a page that opens anywhere: one HTML file, its tables as Markdown, and the record itself."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from speedclaims.record import files as record_files
from speedclaims.record import paths as record_paths
from speedclaims.record.types import Record
from speedclaims.report.html.svg import Strip, drift_svg, spread_text, strip_limits, strip_svg
from speedclaims.report.html.svg_curves import curve_mark_svg, curves_svg
from speedclaims.report.html.svg_forest import ForestRow, forest_svg
from speedclaims.report.html.svg_ladder import waterfall_svg
from speedclaims.report.html.svg_phases import phases_svg
from speedclaims.report.html.svg_timeline import timeline_svg
from speedclaims.report.html.svg_trend import machine_svg, trend_svg
from speedclaims.report.markdown.report import markdown_comment, markdown_report
from speedclaims.report.model import columns, gate
from speedclaims.report.model.alternatives import ComparisonView
from speedclaims.report.model.claims import ClaimRow
from speedclaims.report.model.columns import NOTHING, PAGE, Cell, Column, Part, Row, missing, shown
from speedclaims.report.model.formatting import MOST_NAMES, VERDICTS, clean, plural
from speedclaims.report.model.gathering import Gathered, ReportError, gather
from speedclaims.report.model.ladder import Ladder
from speedclaims.report.model.machines import Machines, machines
from speedclaims.report.model.pairs import PairRow
from speedclaims.report.model.phases import PHASES, ProfiledPair, SideBar
from speedclaims.report.model.trend import Run, Trend, runs, trends
from speedclaims.report.model.view import View, view_record

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["ReportError", "render_comment", "render_html", "render_markdown", "why_no_page", "write_report"]

_TEMPLATES: Final = Path(__file__).parent / "templates"
_MIN_DRIFT: Final = 3
_ADDRESS: Final = re.compile(r"(?<!\S)(https?://\S+?)(?=[,;.]?(?:\s|$))")


def write_report(
    records: Sequence[Record],
    directory: Path,
    *,
    sources: Sequence[str] = (),
    inputs: Sequence[Path] = (),
    record_name: str = record_paths.RECORD,
) -> list[Path]:
    """Write `index.html`, `speedups.md` and `record.json` of the newest record into a directory.

    The directory is made if needed. `sources` are the names of the files that the records were read from; the report
    mentions them. In what order the records are given makes no difference. Returns the paths written. Nothing is
    replaced before everything is on disk, so an old report stays whole when this one fails. Where `why_no_page` gives a
    reason, there is no `index.html`, and one of an older record is removed.

    Args:
        records: the records.
        directory: the folder.
        sources: names of the files that the records were read from.
        inputs: those files, each at its record's place; none of them is replaced. Where `record.json` is the file of
            the newest record, it stays as it is.
        record_name: the name of the record's file.

    Raises:
        ReportError: no record, a record that is not one, a directory that cannot be written, or a file in it that is an
            input or was not written by an earlier report.

    """
    several = _several(gather(records, sources))
    has_page = why_no_page() is None
    newest = several.gathered.records[0]
    is_there = any(
        record == newest and record_files.is_same(directory / record_name, path)
        for record, path in zip(records, inputs, strict=False)
    )
    texts = {
        **({record_paths.PAGE: _html(several)} if has_page else {}),
        record_paths.TABLES: _markdown(several),
        **({} if is_there else {record_name: _strict_json(newest)}),
    }
    try:
        record_files.refuse_inputs([directory / name for name in texts], inputs)
        record_paths.check_report(directory, (record_paths.PAGE, *texts))
        remove = () if has_page else (record_paths.PAGE,)
        return record_files.write_together(Path(directory), texts, remove=remove)
    except record_files.OutputError as error:
        raise ReportError(clean(f"cannot write the report: {error}")) from error
    except OSError as error:
        where = error.filename2 or error.filename or directory
        why = error.strerror or type(error).__name__
        message = f"cannot write the report: {where}: {why}; give a directory that can be written"
        raise ReportError(clean(message)) from error


def why_no_page() -> str | None:
    """Return why `index.html` cannot be drawn: a library that cannot be imported; None where it can be drawn."""
    try:
        import_module("jinja2")
    except ImportError as error:
        return clean(f"Jinja2 draws it and cannot be imported ({error})")
    return None


def render_html(records: Sequence[Record], *, sources: Sequence[str] = ()) -> str:
    """Return the page about the newest record: self-contained, without outside requests or any script but its own.

    Raises:
        ReportError: no record, or a record that is not one.

    """
    return _html(_several(gather(records, sources)))


def render_comment(record: Record) -> str:
    """Return one screen of a record's tables for a comment on a pull request; text of the record cannot become markup.

    Raises:
        ReportError: it is not a record.

    """
    return markdown_comment(_view(record))


def render_markdown(records: Sequence[Record], *, sources: Sequence[str] = ()) -> str:
    """Return the newest record's tables as GitHub Markdown; text of the record cannot become markup.

    Raises:
        ReportError: no record, or a record that is not one.

    """
    return _markdown(_several(gather(records, sources)))


@dataclass(frozen=True, slots=True)
class _Several:
    """Hold the records of a report, with the trends and machines that they have in common."""

    gathered: Gathered
    runs: tuple[Run, ...]
    trends: tuple[Trend, ...]
    machines: Machines


def _several(gathered: Gathered) -> _Several:
    told = runs(gathered.records, [_view(record) for record in gathered.records])
    found = trends(gathered.records, told)
    # a pair that one record alone has is in that record's tables
    return _Several(gathered, told, tuple(trend for trend in found if trend.has_past), machines(told, found))


def _html(several: _Several) -> str:
    view = several.runs[0].view
    script = _template("report.js")
    numbers = {run.machine: number for number, run in enumerate(several.machines.newest)}
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            view=view,
            runs=several.runs,
            trends=[(trend, _trend(trend, numbers)) for trend in several.trends],
            machines=several.machines,
            marks={name: _safe(machine_svg(number)) for name, number in numbers.items()},
            forest=_forest(view),
            has_ranges=any(row.claimed for row in view.pairs),
            columns=columns,
            gate=gate,
            on_page=partial(shown, place=PAGE),
            cells=_cells,
            keys=_keys,
            links={row.index: row.anchor for row in (*view.pairs, *view.controls)},
            with_addresses=_with_addresses,
            most_names=MOST_NAMES,
            nothing=NOTHING,
            strips=_strips(view.claims),
            plural=plural,
            comparisons=[(one, _curves(one)) for one in view.comparisons],
            curve_mark=lambda number: _safe(curve_mark_svg(number)),
            ladders=_ladders(view),
            profiled=_profiled(view),
            phases=_phases(view),
            drifts=_drifts((*view.pairs, *view.controls)),
            timelines=_timelines((*view.pairs, *view.controls)),
            style=_template("report.css"),
            script=script,
            script_hash=_hash(script),
            verdicts=list(VERDICTS.values()),
            sources=several.gathered.sources,
            notes=several.gathered.notes,
        )
    )


def _trend(trend: Trend, numbers: Mapping[str, int]) -> str:
    """Return the drawing of a pair over the runs, empty where there is nothing to draw."""
    told = "; ".join(f"{line.machine}: {line.newest.result}" for line in trend.lines)
    title = f"Speedups of {trend.row.name} over runs, newest: {told}"
    return _safe(trend_svg(trend, numbers, title=title)) if trend.is_measured else ""


def _markdown(several: _Several) -> str:
    gathered = several.gathered
    return markdown_report(several.runs, several.trends, several.machines, gathered.sources, gathered.notes)


def _view(record: Record) -> View:
    try:
        return view_record(record)
    except (KeyError, TypeError, AttributeError) as error:
        message = (
            f"cannot read the record of {clean(record['datetime'])}: {error!r}; validate it against the record's schema"
        )
        raise ReportError(clean(message)) from error


@cache
def _environment() -> "Environment":
    import jinja2  # noqa: PLC0415 - only a report needs it

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _safe(markup: str) -> str:
    """Mark a drawing or style sheet of our own as markup; text from a record never comes here unescaped."""
    from markupsafe import Markup  # noqa: PLC0415 - comes with Jinja2

    return Markup(markup)  # noqa: S704 - made by plots.py, which escapes, or read from templates/


def _template(name: str) -> str:
    return _safe((_TEMPLATES / name).read_text(encoding="utf-8").strip())


def _hash(script: str) -> str:
    """Return the hash by which the page's policy allows its own script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _with_addresses(text: str) -> list[str]:
    """Return text in parts, every second of which is a web address that the page links to."""
    return _ADDRESS.split(text)


def _forest(view: View) -> str:
    pairs = (*view.pairs, *view.controls)
    titles = Counter(row.title for row in pairs)
    rows = [_forest_row(row, is_only=titles[row.title] == 1) for row in pairs]
    return (
        _safe(forest_svg(rows, title="Speedup of every pair with its interval", noise=view.noise_value)) if rows else ""
    )


def _forest_row(row: PairRow, *, is_only: bool) -> ForestRow:
    """Return a pair's row of the chart; the case of its test tells it from others of the same title."""
    text = str(row.speedup) if row.speedup else row.problem
    sublabel = f"{'control: ' if row.is_control else ''}{row.before} → {row.after}"
    _, _, case = row.name.rstrip("]").partition("[")
    if case and not is_only:
        sublabel += f" · {case}"
    return ForestRow(row.title, sublabel, text, row.value, row.low, row.high, row.work, row.is_control, row.claimed)


def _strips(claims: Sequence[ClaimRow]) -> dict[ClaimRow, str]:
    """Return the drawing of each claim that has one; all have the same axis."""
    strips = {
        row: Strip(row.low, row.high, row.measured_value, row.measured_low, row.measured_high, row.verdict.tone)
        for row in claims
        if row.has_strip
    }
    limits = strip_limits(strips.values())
    return {
        row: _safe(strip_svg(strip, limits, title=f"claimed {row.claimed}, measured {row.measured}"))
        for row, strip in strips.items()
    }


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell of a table of the page: its parts, the number of columns it spans, its class and its column's label."""

    parts: Cell
    span: int
    style: str
    label: str


def _cells(kept: Sequence[Column[Row]], row: Row) -> Iterator[_Cell]:
    """Yield the cells of a row. Without a result the reason is one cell over neighbouring columns of results."""
    why = missing(row)
    for is_result, group in groupby(kept, key=lambda column: column.is_result):
        neighbours = list(group)
        if why and is_result:
            yield _Cell((Part(why),), len(neighbours), "none", neighbours[0].label)
            continue
        for column in neighbours:
            cell = column.cell(row)
            classes = (column.style, "number" * (column.align == "right"), "blank" * (not cell))
            yield _Cell(cell, 1, " ".join(filter(None, classes)), column.label)


def _keys(kept: Sequence[Column[Row]], row: Row) -> str:
    """Return what the page's script sorts a row by, for each column."""
    return json.dumps([list(column.key(row)) if column.key else None for column in kept])


def _ladders(view: View) -> list[tuple[Ladder, str]]:
    """Return each ablation with its drawing, empty where no row of its ladder has a speedup."""
    return [
        (one, _safe(waterfall_svg(one, view.noise_value)) if any(rung.speedup.value for rung in one.rungs) else "")
        for one in view.ladders
    ]


def _curves(one: ComparisonView) -> str:
    """Return the drawing of the ratios over the only parameter, empty where there is none."""
    title = f"Ratio to {one.baseline} over {one.parameter}"
    return _safe(curves_svg(one.curves, one.parameter, title=title)) if one.curves else ""


def _profiled(view: View) -> list[tuple[ProfiledPair, list[tuple[SideBar, str]]]]:
    """Return a drawing for each side of each pair that was profiled."""
    return [
        (pair, [(bar, _safe(phases_svg(bar, max(one.seconds for one in pair.sides)))) for bar in pair.sides])
        for pair in view.profiled
    ]


def _phases(view: View) -> list[tuple[str, str, str]]:
    """Return style, name and meaning of the phases that occur, for the legend."""
    occurring = {segment.phase for pair in view.profiled for bar in pair.sides for segment in bar.segments}
    return [(name.replace(" ", "-"), name, meaning) for name, meaning in PHASES.items() if name in occurring]


def _drifts(rows: Sequence[PairRow]) -> list[tuple[PairRow, str, str]]:
    return [
        (
            row,
            _safe(drift_svg(row.log_ratios, title=f"Double rounds of {row.name}", low=row.low, high=row.high)),
            spread,
        )
        for row in rows
        if len(row.log_ratios) >= _MIN_DRIFT and (spread := spread_text(row.log_ratios))
    ]


def _timelines(rows: Sequence[PairRow]) -> list[tuple[PairRow, str, str]]:
    drawn = []
    for row in rows:
        if row.timelines:
            missing = (f"{one.side}: not measured: {one.reason}" for one in row.timelines if one.reason)
            drawing = _safe(timeline_svg(row.timelines, title=f"GPU utilization of {row.name}"))
            drawn.append((row, drawing, "; ".join(missing) or f"{row.before} → {row.after}"))
    return drawn


def _strict_json(record: Record) -> str:
    try:
        return json.dumps(record, allow_nan=False, indent=1) + "\n"
    except (TypeError, ValueError) as error:
        message = f"cannot write the report: record.json: {error}; a record holds only finite numbers and plain values"
        raise ReportError(clean(message)) from error
