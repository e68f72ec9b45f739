"""The newest verdicts of each machine in a folder of evidence, as Markdown."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from speedclaims.record import io as record
from speedclaims.report.markdown.report import escape_markdown as escape
from speedclaims.report.markdown.report import table
from speedclaims.report.model import columns
from speedclaims.report.model.claims import ClaimRow, counted_as, other_variants
from speedclaims.report.model.formatting import MISSING
from speedclaims.report.model.gathering import age_of
from speedclaims.report.model.view import View, view_record

_REST = "{} more could not be judged there; the record says why of each."


def results(folder: Path) -> list[str]:
    """Return the lines of what the newest record of each machine under ``recorded/`` says of the claims.

    Machines with a GPU come first. Of a machine with records that judge claims, one that judges none (of a few pairs
    alone, say) is passed over. Claims that no machine could judge are counted, not listed.

    Raises:
        RecordError: a record cannot be read.
    """
    lines: list[str] = []
    for path, view in _newest(folder):
        place = path.relative_to(folder).as_posix()
        lines += [f"### {escape(view.machine)}", "", f"{escape(view.headline)} ([record]({place}))", ""]
        lines += [f"{escape(' '.join(view.certainty))}", "", *_verdicts(view), ""]
    return lines


def _verdicts(view: View) -> list[str]:
    judged = _judged(view)
    if not judged:
        return ["No claim could be judged there; the record says why of each."]
    others = {row.id for row in view.claims if row.kind == "measured"} - {row.id for row in judged}
    counted, variants = counted_as(judged), other_variants(judged)
    if counted:
        titles = [f"as {escape(variant)} \\[{view.confidence}\\]" for variant in (counted, *variants)]
    else:
        titles = [f"measured \\[{view.confidence}\\]", "verdict"]
    rows = [(*_cells(row), *(_of_variants(row, variants) if counted else _found(row))) for row in judged]
    return [*table(("claim", "claimed", *titles), rows), *([_REST.format(len(others))] if others else [])]


def _newest(folder: Path) -> Iterator[tuple[Path, View]]:
    """Yield the newest record of each machine, those with a GPU first."""
    machines = sorted((folder / "recorded").glob("*/"), key=lambda path: (path.name.startswith("cpu"), path.name))
    for machine in machines:
        records = [(path, record.read(path)) for path in machine.glob("*.json")]
        records.sort(key=lambda pair: age_of(pair[1]), reverse=True)
        views = ((path, view_record(data)) for path, data in records)
        newest = next(views, None)
        if newest is not None:
            yield next((each for each in chain([newest], views) if _judged(each[1])), newest)


def _judged(view: View) -> list[ClaimRow]:
    """Return the rows of the measured claims that have a verdict, on whichever variant."""
    return [
        row
        for row in view.claims
        if row.kind == "measured" and any(one.overall.word != MISSING for one in row.of_variants)
    ]


def _cells(row: ClaimRow) -> tuple[str, ...]:
    work = "" if row.metric.endswith("same work") else f"<br>{escape(row.metric)}"
    return (
        f"“{escape(row.text)}”<br>{escape(row.id)}",
        f"{escape(row.claimed)}{work}",
    )


def _found(row: ClaimRow) -> tuple[str, str]:
    """Return the cells of what a test measured, and of its verdict."""
    return (
        escape(str(row.measured) if row.is_judged else row.result),
        f"{row.verdict.symbol} {row.verdict.word}{f'<br>{escape(row.among)}' if row.among else ''}",
    )


def _of_variants(row: ClaimRow, variants: Sequence[str]) -> Iterator[str]:
    """Yield a cell for the variant that counts and for each of the others: what was measured and the verdict."""
    yield _result_and_verdict(row)
    for variant in variants:
        found = (_result_and_verdict(one) for one in row.others if one.variant == variant)
        yield "<br>".join(found) if row.variant else columns.SAME


def _result_and_verdict(row: ClaimRow) -> str:
    verdict = f"{row.verdict.symbol} {row.verdict.word}" if row.is_judged else ""
    return "<br>".join(filter(None, (escape(row.result), verdict, escape(row.among))))
