"""Tabulate the figures of pairs other than times: pace, memory, synchronizations, GPU."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from speedclaims.report.model.formatting import Json, clean, format_count, format_figure, plural, without_unit

_SYNCS: Final = "Host-device synchronizations"
_MOST_LINES: Final = 8
_WITH_RATIO: Final = ("energy_j", "power_w", "memory_bytes")
_GPU_NOTES: Final = {
    "utilization": "The share of time with at least one kernel running; a tiny kernel in a loop reads 100%.",
    "sm_activity": "The share of the multiprocessors with at least one warp on them, over time.",
    "occupancy": "Resident warps as a share of those that the multiprocessors can hold.",
    "tensor_activity": "The share of time in which the tensor cores worked.",
    "dram_activity": "The share of the memory bandwidth that was used.",
    "energy_j": "Of one call, of the whole GPU, its idle power included.",
    "throttle_s": "How long the clocks were held down in the window, by the reason that did so longest.",
    "other_processes": "Where there are any, the pair's figures are not its own alone.",
}


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure of one pair: before, after and (where it is recorded) their ratio."""

    pair: int
    name: str
    before: str
    after: str
    ratio: str

    def cells(self, *, has_ratio: bool) -> tuple[str, ...]:
        """Return the cells of a table row behind the pair's name."""
        return (self.before, self.after, self.ratio) if has_ratio else (self.before, self.after)


@dataclass(frozen=True, slots=True)
class FigureTable:
    """One kind of figure over the pairs that have it.

    ``missing`` says in one line which pairs have none and why; ``details`` are sentences about those that have one.
    """

    title: str
    note: str
    rows: tuple[FigureRow, ...]
    has_ratio: bool
    missing: str
    details: tuple[str, ...] = ()


def figure_tables(pairs: Sequence[Json], names: Sequence[str]) -> tuple[tuple[FigureTable, ...], tuple[str, ...]]:
    """Return a table for each kind of figure that anything has, and one line for each kind that nothing has.

    Args:
        pairs: rows of the record.
        names: what each of them is called.
    """
    tables, missing = [], []
    for title, note, sides in _figure_kinds(pairs):
        present = {i: side for i, side in sides.items() if _has_value(side)}
        absent = {i: side for i, side in sides.items() if i not in present}
        if present:
            figure_rows = tuple(_figure_row(i, names[i], side) for i, side in present.items())
            has_ratio = any("ratio" in side for side in present.values())
            tables.append(FigureTable(title, note, figure_rows, has_ratio, _absent_line(absent, names)))
            if title == _SYNCS:
                tables[-1] = _with_lines(tables[-1], pairs)
        elif pairs:
            missing.append(f"{title}: {_reasons(absent.values()) or 'no GPU took part'}")
    pace = _pace(pairs, names)
    if pace.rows:
        tables.insert(0, pace)
    return tuple(tables), tuple(missing)


def _pace(pairs: Sequence[Json], names: Sequence[str]) -> FigureTable:
    """Return the rates of the pairs that measured parts of their work alone: of the whole, then of each part."""
    figure_rows = []
    for index, (name, pair) in enumerate(zip(names, pairs, strict=True)):
        if not pair.get("stages") or pair["before_s"] is None:
            continue
        whole = {
            side: {"value": pair["units"] / pair[f"{side}_s"], "unit": "1/s", "status": "measured", "reason": None}
            for side in ("before", "after")
        }
        for part, sides in {"whole": whole, **pair["stages"]}.items():
            figure_rows.append(
                FigureRow(
                    index, f"{name} · {clean(part)}", format_figure(sides["before"]),
                    format_figure(sides["after"]), "",
                )
            )  # fmt: skip
    note = "Units (images, rows) a second: of the whole, and of each part alone. The slowest part sets the pace."
    return FigureTable("Pace", note, tuple(figure_rows), has_ratio=False, missing="")


def _with_lines(table: FigureTable, pairs: Sequence[Json]) -> FigureTable:
    """Return the table of synchronizations with their rates by the unit, and below it the lines that cause them."""
    figure_rows, details = [], []
    for row in table.rows:
        pair = pairs[row.pair]
        before, after = (_with_rate(pair["syncs"][side], pair["units"]) for side in ("before", "after"))
        figure_rows.append(replace(row, before=before, after=after))
        lines = pair.get("sync_lines")
        if lines is not None:
            details += [f"{row.name}, {side}: {_lines_told(lines, side)}" for side in ("before", "after")]
    return replace(table, rows=tuple(figure_rows), details=tuple(details))


def _with_rate(figure: Json, units: float) -> str:
    told = format_figure(figure)
    if figure["value"] is None or units == 1:
        return told
    return f"{told} ({format_count(figure['value'] / units)} a unit)"


def _lines_told(lines: Json, side: str) -> str:
    counts: Mapping[str, int] = lines[side]
    internal = lines["internal"][side]
    if internal is None:
        return "nothing was counted"
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{clean(place)} ({count})" for place, count in ordered[:_MOST_LINES]]
    rest = ordered[_MOST_LINES:]
    if rest:
        parts.append(f"{plural(len(rest), 'more line')} ({sum(count for _, count in rest)})")
    return f"{', '.join(parts) or 'no line of its own'}; inside the frameworks {internal}"


def _has_value(side: Json) -> bool:
    return any(figure["value"] is not None for figure in side.values())


def _reasons(sides: Iterable[Json]) -> str:
    reasons = (clean(figure["reason"]) for side in sides for figure in side.values() if figure["reason"])
    return "; ".join(dict.fromkeys(reasons))


def _absent_line(absent: Mapping[int, Json], names: Sequence[str]) -> str:
    if not absent:
        return ""
    told = ", ".join(names[i] for i in absent)
    return f"Not measured for {told}: {_reasons(absent.values()) or 'no reason recorded'}."


def _figure_kinds(pairs: Sequence[Json]) -> Iterable[tuple[str, str, dict[int, Json]]]:
    cold: dict[int, Json] = {
        i: {"before": pair["cold_before_s"], "after": pair["cold_after_s"]} for i, pair in enumerate(pairs)
    }
    yield (
        "Cold first call",
        "The first call in a fresh process: tracing, compiling and whatever else is made then, the median of a few "
        "processes. What a pair's setup does before it, such as building a side, is outside the clock.",
        cold,
    )
    yield "Peak memory", "The highest memory in use during one call.", {i: p["memory"] for i, p in enumerate(pairs)}
    yield (
        _SYNCS,
        "How often a side's own lines make the processor wait for the device in one call. Counted, so without an "
        "interval.",
        {i: p["syncs"] for i, p in enumerate(pairs)},
    )
    yield from _profile_kinds(pairs)
    yield from _gpu_kinds(pairs)


def _gpu_kinds(pairs: Sequence[Json]) -> Iterable[tuple[str, str, dict[int, Json]]]:
    names = list(dict.fromkeys(name for pair in pairs for name in pair["gpu"]))
    for name in names:
        sides = {i: pair["gpu"][name] for i, pair in enumerate(pairs) if name in pair["gpu"]}
        # a ratio says which side uses less; of two temperatures or shares it says nothing
        kept = sides if name in _WITH_RATIO else {i: _without_ratio(both) for i, both in sides.items()}
        yield f"GPU: {without_unit(name)}", _GPU_NOTES.get(name, ""), kept
        if name == "energy_j":
            yield (
                "GPU: units per joule",
                "Batches, images or rows for a joule of the whole GPU, its idle power included.",
                {i: _per_joule(both, pairs[i]["units"]) for i, both in sides.items()},
            )
    if not names:
        yield "GPU figures", "", {}


def _without_ratio(sides: Json) -> Json:
    return {side: sides[side] for side in ("before", "after")}


def _per_joule(sides: Json, units: float) -> Json:
    def rate(energy: Json) -> Json:
        joules = energy["value"]
        return {**energy, "unit": "1/J"} if not joules else {**_bare(energy), "unit": "1/J", "value": units / joules}

    return {side: rate(sides[side]) for side in ("before", "after")}


def _bare(figure: Json) -> Json:
    return {key: figure[key] for key in ("value", "unit", "status", "reason")}


def _profile_kinds(pairs: Sequence[Json]) -> Iterable[tuple[str, str, dict[int, Json]]]:
    """Yield the figures of the pass `profile` other than phases; nothing for records older than that pass."""
    profiled = {i: pair for i, pair in enumerate(pairs) if "profile" in pair}
    if not profiled:
        return
    yield (
        "GPU busy",
        "For how much of one call at least one kernel runs, by the profiler, which itself slows the host down.",
        {i: {side: one["busy"] for side, one in pair["profile"].items()} for i, pair in profiled.items()},
    )
    counted = {i: pair["flops"] for i, pair in enumerate(pairs) if "flops" in pair}
    yield (
        "Floating point operations of one call",
        "Matrix products, convolutions and attention, counted on the before side and the same for the after side "
        "where it does the same work.",
        {i: {side: flops[side] for side in ("before", "after")} for i, flops in counted.items()},
    )
    yield (
        "Share of the measured ceiling",
        "Those operations by the measured time of the call, of the fastest matrix product that this machine was "
        "measured to do.",
        {i: flops["share"] for i, flops in counted.items()},
    )
    yield from _bytes_kinds(pairs)


def _bytes_kinds(pairs: Sequence[Json]) -> Iterable[tuple[str, str, dict[int, Json]]]:
    """Yield the lower bounds of the bytes of one call, for the pairs whose tests compute them."""
    reckoned = {i: pair["bytes"] for i, pair in enumerate(pairs) if "bytes" in pair}
    if not reckoned:
        return
    yield (
        "Bytes of one call, at the least",
        "What a call cannot but read and write, as its test reckons it. Not counted is what a program could do without "
        "or keep in a cache: activations, gradients, batches.",
        {i: {side: least[side] for side in ("before", "after")} for i, least in reckoned.items()},
    )
    yield (
        "Share of the measured copy, at the least",
        "Those bytes by the measured time of the call, of the fastest large copy that this machine was measured to do. "
        "What fits into a cache may go beyond 100%.",
        {i: least["share"] for i, least in reckoned.items()},
    )


def _figure_row(index: int, name: str, sides: Json) -> FigureRow:
    ratio = format_figure(sides["ratio"], is_ratio=True) if "ratio" in sides else ""
    return FigureRow(index, name, format_figure(sides["before"]), format_figure(sides["after"]), ratio)
