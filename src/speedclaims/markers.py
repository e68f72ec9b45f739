"""Read the markers of a test."""

import math
from collections.abc import Collection, Iterator

import pytest

from speedclaims.numbers import plain

CLAIM, EVIDENCE = "speedup_claim", "speedup_evidence"
"""The markers by which a test judges claims, and by which its pair is shown as evidence about them."""
CONTROL, LONG, FAIL, PASSES = "speedup_control", "speedup_long", "speedup_fail", "speedup_passes"
DIFFERS = "speedup_differs"
DEPRECATED = {"claim": CLAIM, "control_pair": CONTROL, "long_pair": LONG}
"""The new name of each marker whose old name still works."""

_WARNED = pytest.StashKey[set[str]]()


def measures(item: pytest.Item) -> bool:
    """Return whether a test uses the ``pair`` or the ``figure`` fixture."""
    return not {"pair", "figure"}.isdisjoint(getattr(item, "fixturenames", ()))


def find_markers(item: pytest.Item, name: str) -> Iterator[pytest.Mark]:
    """Yield a test's markers of a name or of its deprecated name, closest first.

    Each deprecated name warns once per session.
    """
    for marker in item.iter_markers():
        if marker.name == name:
            yield marker
        elif DEPRECATED.get(marker.name) == name:
            _warn_of_deprecated(item, marker.name)
            yield marker


def _warn_of_deprecated(item: pytest.Item, name: str) -> None:
    warned = item.config.stash.setdefault(_WARNED, set())
    if name not in warned:
        warned.add(name)
        try:
            item.warn(DeprecationWarning(f"the marker {name} is deprecated: use {DEPRECATED[name]}"))
        except DeprecationWarning as error:  # this run turns warnings into errors
            raise pytest.UsageError(f"{item.nodeid}: {error}") from None


def named_claims(item: pytest.Item, kind: str = CLAIM) -> list[tuple[str, str | None]]:
    """Return the claims that a test's markers of a kind name, each with its variant, None where none is named.

    Raises:
        pytest.UsageError: a marker without a name, or with another keyword than the variant that a test judges.
    """
    found: list[tuple[str, str | None]] = []
    for marker in find_markers(item, kind):
        variant: object = marker.kwargs.get("variant")
        keywords = {"variant"} if kind == CLAIM and isinstance(variant, str) else set()
        if not marker.args or marker.kwargs.keys() - keywords or not all(isinstance(id_, str) for id_ in marker.args):
            optional = ', and a variant where the ledger lists any: variant="..."' if kind == CLAIM else ""
            raise pytest.UsageError(
                f"{item.nodeid}: the {marker.name} marker takes claim ids: "
                f'@pytest.mark.{marker.name}("family.claim"){optional}'
            )
        found += [(name, marker.kwargs.get("variant")) for name in marker.args]
    return found


def times_longer(item: pytest.Item) -> float:
    """Return how many times the usual seconds a test's pair may take, by its marker; 1 without one.

    Raises:
        pytest.UsageError: the marker has another argument than one positive number.
    """
    marker = next(find_markers(item, LONG), None)
    if marker is None:
        return 1.0
    times = _only_number(marker)
    if not 0 < times < math.inf:
        raise pytest.UsageError(
            f"{item.nodeid}: {marker.name} takes one positive number, how many times --speedup-max-time"
        )
    return float(times)


def gate_percent(item: pytest.Item) -> float | None:
    """Return the loss in percent at which the gate fails a test's pair, by its marker; None without one.

    Raises:
        pytest.UsageError: the marker has another argument than one positive number.
    """
    marker = item.get_closest_marker(FAIL)
    if marker is None:
        return None
    percent = _only_number(marker)
    if not 0 < percent < math.inf:
        raise pytest.UsageError(
            f"{item.nodeid}: speedup_fail takes one positive number, the loss in percent at which the gate fails"
        )
    return float(percent)


def difference_by_design(item: pytest.Item) -> str | None:
    """Return in what a test's result differs between two revisions by design, by its marker; None without one.

    Raises:
        pytest.UsageError: the marker has another argument than one text.
    """
    marker = item.get_closest_marker(DIFFERS)
    if marker is None:
        return None
    (why,) = marker.args if len(marker.args) == 1 and not marker.kwargs else (None,)
    if not isinstance(why, str) or not why.strip():
        raise pytest.UsageError(f"{item.nodeid}: {DIFFERS} takes one text, in what the results differ and why")
    return why


def marked_passes(item: pytest.Item, known: Collection[str]) -> set[str]:
    """Return the passes that a test's markers add.

    Args:
        item: the test.
        known: the names of all passes.

    Raises:
        pytest.UsageError: a marker has no argument, or another than the name of a pass.
    """
    names: set[str] = set()
    for marker in item.iter_markers(PASSES):
        if not marker.args or marker.kwargs or not all(isinstance(one, str) and one in known for one in marker.args):
            raise pytest.UsageError(f"{item.nodeid}: speedup_passes takes some of {', '.join(known)}")
        names.update(marker.args)
    return names


def _only_number(marker: pytest.Mark) -> float:
    """Return a marker's only argument, NaN where it is no number."""
    found = plain(marker.args[0]) if len(marker.args) == 1 and not marker.kwargs else None
    return math.nan if found is None else float(found)
