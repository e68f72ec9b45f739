"""Record what an NVIDIA GPU did while one side ran alone, as NVML says it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from speedclaims.record.figure import sides
from speedclaims.record.json_types import Json, JsonObject
from speedclaims.recorders.recorder import (
    FigureKind,
    Machine,
    Metric,
    PairContext,
    Recorder,
    Side,
    no_sides,
    rows,
    rows_with_ratio,
)

if TYPE_CHECKING:
    from speedclaims.record.types import BeforeAfter, Figure, RecordedPair, Sides


def _metric(
    name: str, words: str, figure: str, side: Literal["before", "after", "ratio"], unit: str = "percent"
) -> Metric:
    def find(pair: "RecordedPair") -> "Figure | None":
        both = pair["gpu"].get(figure)
        return None if both is None else both[side]

    return Metric(name, words, find, unit)


class Nvml(Recorder):
    """Record utilization, activities, energy and the rest of `speedclaims.recorders.nvml.window.FIGURES`."""

    name = "gpu"
    help = "figures from NVML: utilization, energy, clocks and others"
    metrics = (
        _metric("utilization", "utilization", "utilization", "after"),
        _metric("utilization_before", "utilization before", "utilization", "before"),
        _metric("sm_activity", "SM activity", "sm_activity", "after"),
        _metric("tensor_activity", "tensor activity", "tensor_activity", "after"),
        _metric("energy_ratio", "energy", "energy_j", "ratio", "1"),
    )

    def applies(self, device: str) -> bool:
        return device.startswith("cuda")

    def record_side(self, side: Side) -> JsonObject:
        """Return the figures of a window in which the side runs again and again."""
        from speedclaims.recorders.nvml.window import watch  # noqa: PLC0415 - loading the plugin must stay cheap

        side.prepare()  # once: between the calls it would make the device look idle
        return asdict(watch(side.call, device=side.device))

    def fields(self, before: Sequence[Json], after: Sequence[Json], context: PairContext) -> Mapping[str, object]:
        one, other = before[0], after[0]
        return {
            "gpu": {name: sides(one["figures"][name], other["figures"][name]) for name in one["figures"]},
            "gpu_timeline": {"before": one["timeline"], "after": other["timeline"]},
        }

    def missing(self, reason: str) -> Mapping[str, object]:
        from speedclaims.recorders.nvml.window import FIGURES  # noqa: PLC0415

        return {"gpu": {name: no_sides(kind.unit, reason) for name, kind in FIGURES.items()}}

    def tables(self, pairs: "Sequence[RecordedPair]") -> Iterator[FigureKind]:
        from speedclaims.recorders.nvml.window import FIGURES  # noqa: PLC0415

        names = list(dict.fromkeys(name for pair in pairs for name in pair["gpu"]))
        for name in names:
            kind = FIGURES.get(name)
            found = {i: pair["gpu"][name] for i, pair in enumerate(pairs) if name in pair["gpu"]}
            # a ratio says which side uses less; of two temperatures or shares it says nothing
            rows_of_kind = rows_with_ratio(found) if kind and kind.has_ratio else rows(found)
            yield FigureKind(f"GPU: {kind.words if kind else name}", kind.note if kind else "", rows_of_kind)
            if name == "energy_j":
                yield FigureKind(
                    "GPU: units per joule",
                    "Batches, images or rows for a joule of the whole GPU, its idle power included.",
                    rows({i: _per_joule(one, pairs[i]["units"]) for i, one in found.items()}),
                )
        if not names:
            yield FigureKind("GPU figures", "", ())

    def obstacles(self, machine: Machine) -> Mapping[str, Sequence[str | None]]:
        return {
            "gpu": (machine.nvml("utilization"),),
            **{name: (machine.nvml(name),) for name in ("utilization", "power", "energy")},
        }


def _per_joule(energy: "Sides", units: float) -> "BeforeAfter":
    def rate(one: "Figure") -> "Figure":
        joules = one["value"]
        value = units / joules if joules else joules
        return {"value": value, "unit": "1/J", "status": one["status"], "reason": one["reason"]}

    return {"before": rate(energy["before"]), "after": rate(energy["after"])}
