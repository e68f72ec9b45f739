"""Read the markers of a test."""

import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from speedclaims.numbers import plain
from speedclaims.record.pair_key import case_words

if TYPE_CHECKING:
    from speedclaims.record.types import RecordedPair

CLAIM, EVIDENCE = "speedup_claim", "speedup_evidence"
"""The markers by which a test judges claims, and by which its pair is shown as evidence about them."""
CONTROL, LONG, FAIL, PASSES = "speedup_control", "speedup_long", "speedup_fail", "speedup_passes"
DIFFERS, RANKS = "speedup_differs", "speedup_ranks"
DEPRECATED = {"claim": CLAIM, "control_pair": CONTROL, "long_pair": LONG}
"""The new name of each marker whose old name still works."""

_WARNED = pytest.StashKey[set[str]]()


FIXTURES = ("pair", "compare", "figure")
_OURS = "speedclaims.plugin"


def measures(item: pytest.Item) -> bool:
    """Return whether a test uses the ``pair``, ``compare`` or ``figure`` fixture of this plugin."""
    return any(uses(item, name) for name in FIXTURES)


def uses(item: pytest.Item, name: str) -> bool:
    """Return whether a test uses a fixture of this plugin, itself or through one of that name which overrides it."""
    if name not in getattr(item, "fixturenames", ()):
        return False
    known = getattr(item, "_fixtureinfo", None)  # what a test's own fixture of that name hides is known nowhere else
    for definition in reversed(known.name2fixturedefs.get(name, ()) if known is not None else ()):
        if getattr(definition.func, "__module__", None) == _OURS:
            return True
        if name not in definition.argnames:
            return False
    return False


@dataclass(frozen=True)
class Wanted:
    """Name the alternative and the case that judge a claim, as a marker does; None is any."""

    alternative: str | None
    case: Mapping[str, str] | None

    def fits(self, row: "RecordedPair") -> bool:
        """Return whether a pair is what the marker asks for."""
        if "alternative" not in row:
            return True  # the row of a test that did not come to its comparison
        labels = row["alternative"]["case"]
        is_case = self.case is None or all(labels.get(name) == label for name, label in self.case.items())
        return is_case and self.alternative in {None, row["after"]}

    def __str__(self) -> str:
        """Return it in words."""
        return " with ".join(filter(None, [self.alternative, case_words(self.case or {})]))


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
        pytest.UsageError: a marker without a name, or with a keyword that it does not take.
    """
    found: list[tuple[str, str | None]] = []
    for marker in find_markers(item, kind):
        keywords = (
            {name for name, fits in _KEYWORDS.items() if fits(marker.kwargs.get(name))} if kind == CLAIM else set()
        )
        if not marker.args or marker.kwargs.keys() - keywords or not all(isinstance(id_, str) for id_ in marker.args):
            optional = (
                ', and a variant where the ledger lists any: variant="..."; of compare an alternative="..." and a '
                'case={"n": 10}'
                if kind == CLAIM
                else ""
            )
            raise pytest.UsageError(
                f"{item.nodeid}: the {marker.name} marker takes claim ids: "
                f'@pytest.mark.{marker.name}("family.claim"){optional}'
            )
        if marker.kwargs.keys() & {"alternative", "case"} and not uses(item, "compare"):
            raise pytest.UsageError(
                f"{item.nodeid}: the {marker.name} marker names an alternative or a case, which a test with the "
                "compare fixture has: leave it out"
            )
        found += [(name, marker.kwargs.get("variant")) for name in marker.args]
    return found


_KEYWORDS: Mapping[str, Callable[[object], bool]] = {
    "variant": lambda value: isinstance(value, str),
    "alternative": lambda value: isinstance(value, str),
    "case": lambda value: isinstance(value, Mapping) and all(isinstance(name, str) for name in value),
}
"""Keywords of the marker of a claim, and whether a value fits."""


def wanted_rows(item: pytest.Item) -> dict[tuple[str, str | None], list[Wanted]]:
    """Return for each claim and variant that a test's markers name which of its pairs judge it."""
    found: dict[tuple[str, str | None], list[Wanted]] = {}
    for marker in find_markers(item, CLAIM):
        case = marker.kwargs.get("case")
        labels = None if case is None else {name: str(label) for name, label in case.items()}
        wanted = Wanted(marker.kwargs.get("alternative"), labels)
        for id_ in marker.args:
            found.setdefault((id_, marker.kwargs.get("variant")), []).append(wanted)
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


MOST_RANKS_A_PROCESSOR = 8


def num_ranks(item: pytest.Item) -> int:
    """Return how many ranks of torchrun a test's pair is measured in, by its marker; 0 without one.

    Raises:
        pytest.UsageError: the marker has another argument than one whole number from 1, more ranks than a machine can
            have, or the test has no pair.
    """
    marker = item.get_closest_marker(RANKS)
    if marker is None:
        return 0
    number = _only_number(marker)
    if not (number >= 1 and number == int(number)):
        raise pytest.UsageError(f"{item.nodeid}: {RANKS} takes one whole number of ranks, such as 2")
    most = MOST_RANKS_A_PROCESSOR * (os.cpu_count() or 1)
    if number > most:
        raise pytest.UsageError(f"{item.nodeid}: {RANKS} names {number:g} ranks, and this machine takes {most} at most")
    if not uses(item, "pair"):
        raise pytest.UsageError(f"{item.nodeid}: {RANKS} is for a test with the pair fixture: leave it out")
    return int(number)


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
