"""List the machine, the versions and the settings of a run, in groups of names and values."""

from collections.abc import Mapping, Sequence

from speedclaims.record.types import Ceilings, Environment, Scalar, Scalars
from speedclaims.report.model.formatting import clean, format_figure, format_setting, words

Groups = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
"""Titles, each with its names and values."""


def settings(environment: Environment) -> Groups:
    """Return the machine, the versions and the settings of a run; a group without any is left out."""
    machine: Scalars = {
        "machine": environment["device_name"],
        "device": environment["device"],
        "system": environment["os"],
        "memory_bytes": environment["memory_bytes"],
        **{f"cpu {words(key)}": value for key, value in environment["cpu"].items()},
    }
    for number, gpu in enumerate(environment["gpus"]):
        machine |= {f"gpu {number} {words(key)}": value for key, value in gpu.items()}
    versions: Scalars = {"python": environment["python"]}
    versions |= {name: version for name, version in environment["libraries"].items() if version is not None}
    options = _with_words(environment["options"])
    if options.get("processes") == 0:
        options["processes"] = "by the time that starting one takes"
    groups: dict[str, Mapping[str, Scalar]] = {
        "Machine": machine,
        "Versions": versions,
        "Threads": _with_words(environment["threads"]),
        "Numerical settings": environment["settings"],
        "Measuring options": options,
    }
    return tuple(
        (title, tuple(format_setting(key, value) for key, value in group.items()))
        for title, group in groups.items()
        if group
    )


def _with_words(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return settings with words for those that nobody set."""
    return {name: "not set" if value is None else value for name, value in values.items()}


def best_rates(ceilings: Sequence[Ceilings]) -> Groups:
    """Return what the machine was measured to do at most, a group for each framework and device."""
    return tuple(
        (
            f"Measured ceilings ({clean(one['framework'] or 'no framework')}, {clean(one['device'])})",
            (
                *((f"matrix product, {clean(kind)}", format_figure(rate)) for kind, rate in one["matmul"].items()),
                ("copy, read and written", format_figure(one["copy"])),
            ),
        )
        for one in ceilings
    )
