"""A record's speedups in the formats of other tools: pure functions from a record to text.

- github-action-benchmark, tool ``customBiggerIsBetter``: an array of ``{name, unit, value, range, extra}``.
- Bencher's metric format: ``{benchmark: {measure: {value, lower_value, upper_value}}}``.
- CSV, a line for each pair; and Markdown, the report's own tables.
- github-comment: one screen of Markdown for a comment on a pull request, the gate's verdict first.

Pairs without a speedup are left out, with the reason: the formats of other tools have no place for what was not
measured. Control pairs are left out too, for their speedup is 1 by construction.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from speedclaims.record.types import Record, RecordedPair

COMMENT = "github-comment"
"""The format that is of use without a measured pair too: it says why there is none."""

MAX_NAME = 1024
"""The longest name of a benchmark that Bencher takes; the others have no bound."""


@dataclass(frozen=True)
class Export:
    """Hold a record in an exported format.

    Attributes:
        text: the file's content, ending in a line feed.
        num_pairs: how many pairs it holds.
        left_out: pairs without a speedup, a line each with the reason.
    """

    text: str
    num_pairs: int
    left_out: tuple[str, ...]


def export(record: Record, to: str) -> Export:
    """Return a record's speedups in the format `to`, one of `FORMATS`."""
    pairs = [row for row in record["speedclaims"]["pairs"] if not row["control"]]
    measured = [row for row in pairs if row["speedup"] is not None]
    left_out = [f"{row['nodeid']}: {row['reason']}" for row in pairs if row["speedup"] is None]
    return Export(FORMATS[to](record, measured), len(measured), tuple(left_out))


def names(rows: Sequence[RecordedPair]) -> list[str]:
    """Return a name for each pair that no other has: the test's node id, cut to what every reader takes."""
    taken: Counter[str] = Counter()
    found = []
    for row in rows:
        name = _cut(row["nodeid"], "")
        while taken[name]:
            taken[name] += 1
            name = _cut(row["nodeid"], f" ({taken[name]})")
        taken[name] += 1
        found.append(name)
    return found


def _cut(name: str, end: str) -> str:
    # one line, for it is a heading in what others draw
    return " ".join(name.split())[: MAX_NAME - len(end)] + end


def _github_action_benchmark(record: Record, rows: Sequence[RecordedPair]) -> str:
    return _json([_entry(name, row, record) for name, row in zip(names(rows), rows, strict=True)])


def _entry(name: str, row: RecordedPair, record: Record) -> dict[str, object]:
    entry: dict[str, object] = {"name": name, "unit": "x", "value": row["speedup"]}
    if row["speedup"] is not None and row["low"] is not None and row["high"] is not None:
        # the reader shows one number behind the sign, so it is the farther end's
        farther = max(row["speedup"] - row["low"], row["high"] - row["speedup"])
        entry["range"] = f"± {farther:.6g}"
    environment = record["speedclaims"]["environment"]
    entry["extra"] = "\n".join([*_told(row), f"on {environment['device_name']}"])
    return entry


def _told(row: RecordedPair) -> Iterator[str]:
    yield f"{row['before']} -> {row['after']}, {row['work']} work, {row['device']}"
    if row["low"] is not None:
        yield f"[{row['low']:.6g}, {row['high']:.6g}] at {100 * row['confidence']:g}%"
    yield f"{row['num_rounds']} rounds, equivalence {row['equivalence'].replace('_', ' ')}"


def _bencher(_: Record, rows: Sequence[RecordedPair]) -> str:
    return _json({name: {"speedup": _metric(row)} for name, row in zip(names(rows), rows, strict=True)})


def _metric(row: RecordedPair) -> dict[str, float | None]:
    metric = {"value": row["speedup"]}
    if row["low"] is not None:
        metric |= {"lower_value": row["low"], "upper_value": row["high"]}
    return metric


def _csv(_: Record, rows: Sequence[RecordedPair]) -> str:
    from speedclaims.report.model.columns import CSV_FIELDS  # noqa: PLC0415 - the JSON formats need none of it

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    writer.writerows([_cell(row[column]) for column in CSV_FIELDS] for row in rows)
    return out.getvalue()


def _cell(value: object) -> str:
    """Return a value as a cell: nothing for null, and no text that a spreadsheet would take for a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _markdown(record: Record, _: Sequence[RecordedPair]) -> str:
    from speedclaims.report.html.page import render_markdown  # noqa: PLC0415 - the other formats need none of it

    return render_markdown([record])


def _github_comment(record: Record, _: Sequence[RecordedPair]) -> str:
    from speedclaims.report.html.page import render_comment  # noqa: PLC0415 - the other formats need none of it

    return render_comment(record)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Record, Sequence[RecordedPair]], str]] = {
    "github-action-benchmark": _github_action_benchmark,
    "bencher": _bencher,
    "csv": _csv,
    "markdown": _markdown,
    COMMENT: _github_comment,
}
"""The formats by name."""


def is_export(content: bytes) -> bool:
    """Whether a file's content is an export in one of the formats."""
    from speedclaims.record.paths import TABLES, is_of_report  # noqa: PLC0415 - needed only where a file is there already
    from speedclaims.report.markdown.report import COMMENT_MARK  # noqa: PLC0415
    from speedclaims.report.model.columns import CSV_FIELDS  # noqa: PLC0415

    text = content.decode("utf-8", "replace")
    if text.startswith((f"{CSV_FIELDS[0]},", f"{COMMENT_MARK}\n")):
        return True
    if text.startswith("# "):
        return is_of_report(TABLES, content)
    try:
        found = json.loads(text)
    except ValueError:
        return False
    if isinstance(found, list):
        return bool(found) and all(isinstance(one, dict) and one.get("unit") == "x" and "value" in one for one in found)
    return isinstance(found, dict) and bool(found) and all(_is_metric(one) for one in found.values())


def _is_metric(found: object) -> bool:
    return isinstance(found, dict) and found.keys() == {"speedup"}
