"""Find the commit that made a test slower: git's own bisection, each commit measured against the good one."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speedclaims.errors import SpeedclaimsError
from speedclaims.record.json_types import JsonObject
from speedclaims.report.model.formatting import format_percent, format_ratio
from speedclaims.revisions.git import RevisionError, check_out, commit_of, git, top_of
from speedclaims.revisions.sides import Scratch

_AS_FAST = ("held", "improved")
_LAST_LINES = 3
_LEAST_PERCENT = 5.0
"""A smaller loss of the bad commit is nothing to look for."""


class BisectError(SpeedclaimsError):
    """A bisection that cannot be made, in one line."""


@dataclass(frozen=True)
class Asked:
    """Hold the options of ``speedclaims bisect``.

    Attributes:
        good: a revision at which the test is fast.
        bad: a later one at which it is slow.
        test: the test, as pytest takes it.
        seconds: that the measurement of a commit may take.
        build: the command that builds the project; None without.
    """

    good: str
    bad: str
    test: str
    seconds: float = 60.0
    build: str | None = None


@dataclass(frozen=True)
class Step:
    """A commit that was measured.

    Attributes:
        commit: its hash.
        subject: the first line of its message.
        word: ``slower``, ``as fast``, or ``skipped``.
        told: the speedup with its interval, or why there is none.
        loss: how much longer it takes than the good one; None where it was not measured.
    """

    commit: str
    subject: str
    word: str
    told: str
    loss: float | None

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.commit[:7]} {self.word}: {self.told}  {self.subject}"


@dataclass(frozen=True)
class Found:
    """The end of a bisection.

    Attributes:
        first: the first slower commit; None where nothing became slower or commits had to be skipped.
        loss: of the bad commit against the good one.
        left: commits of which one is the first slower one, where some had to be skipped.
        undecided: why the bad commit could not be compared with the good one; None where it could.
    """

    first: Step | None
    loss: float
    left: tuple[str, ...] = ()
    undecided: str | None = None


def bisect(asked: Asked, say: Callable[[str], object]) -> Found:
    """Find the first commit after the good one at which the test is slower.

    Args:
        asked: the options.
        say: told each commit that was measured, in one line.

    Raises:
        BisectError: the bad commit is not after the good one, or the test is not one benchmark.
        RevisionError: git fails.
        OSError: a folder cannot be written.
    """
    top = top_of(Path.cwd())
    if top is None:
        raise BisectError("this folder is in no git repository: bisect runs where pytest does")
    good, bad = commit_of(top, asked.good), commit_of(top, asked.bad)
    if good == bad or git(top, "merge-base", good, bad) != good:
        raise BisectError(f"{asked.bad} does not come after {asked.good}: give an ancestor as --good")
    scratch = Scratch()
    try:
        return _Bisection(asked, say, top, good, scratch.path).run(bad)
    finally:
        scratch.remove()


@dataclass(frozen=True)
class _Bisection:
    """A bisection in another checkout."""

    asked: Asked
    say: Callable[[str], object]
    top: Path
    good: str
    scratch: Path

    def run(self, bad: str) -> Found:
        """Measure the bad commit, and then those that git asks for."""
        whole = self._measure(bad, _LEAST_PERCENT)
        loss = whole.loss or 0.0
        if whole.word == "skipped":
            return Found(None, loss, undecided=whole.told)
        if whole.word != "slower":
            return Found(None, loss)
        walk, steps = self.scratch / "walk", {bad: whole}
        check_out(self.top, bad, walk)
        said = git(walk, "bisect", "start", bad, self.good)
        while "first bad commit" not in said:
            here = git(walk, "rev-parse", "HEAD")
            steps[here] = self._measure(here, 100 * loss)
            answer = {"slower": "bad", "as fast": "good"}.get(steps[here].word, "skip")
            try:
                said = git(walk, "bisect", answer)
            except RevisionError:  # only skipped ones are left
                return Found(None, loss, tuple(_left(walk)))
        return Found(steps[git(walk, "rev-parse", "refs/bisect/bad")], loss)

    def _measure(self, commit: str, percent: float) -> Step:
        """Measure a commit against the good one.

        Args:
            commit: its hash.
            percent: a loss above half of this is one; a loss below it is ruled out for a commit that is as fast.

        Raises:
            BisectError: the test is not one benchmark.
        """
        asked, out = self.asked, self.scratch / "verdict.json"
        out.unlink(missing_ok=True)
        command = [
            sys.executable, "-m", "pytest", asked.test, f"--speedup-against={self.good}..{commit}",
            f"--speedup-fail={percent}", f"--speedup-until-decided={asked.seconds}", f"--speedup-json={out}", "-q",
            "-p", "no:cacheprovider", *([f"--speedup-build={asked.build}"] if asked.build is not None else []),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - ours
        if not out.is_file():
            lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise BisectError(f"{asked.test}: pytest ended with {done.returncode}: {' | '.join(lines[-_LAST_LINES:])}")
        found: JsonObject = json.loads(out.read_text(encoding="utf-8"))
        pairs = [pair for pair in found["pairs"] if not pair["control"]]
        if len(pairs) != 1:
            raise BisectError(f"{asked.test} is {len(pairs)} benchmarks: name one, such as tests/test_it.py::test_it")
        step = _step(self.top, commit, pairs[0])
        self.say(str(step))
        return step


def _left(walk: Path) -> list[str]:
    """Return the commits that are left where those between had to be skipped."""
    names = git(walk, "for-each-ref", "--format=%(refname)", "refs/bisect").splitlines()
    good = [f"^{name}" for name in names if "/good-" in name]
    return git(walk, "log", "--format=%h %s", "refs/bisect/bad", *good).splitlines()


def _step(top: Path, commit: str, pair: JsonObject) -> Step:
    subject = git(top, "log", "-1", "--format=%s", commit)
    if pair["loss"] is None:
        return Step(commit, subject, "skipped", str(pair["reason"]), None)
    told = format_ratio(pair["speedup"], pair["low"], pair["high"])
    word = {"regressed": "slower", **dict.fromkeys(_AS_FAST, "as fast")}.get(pair["gate"], "skipped")
    return Step(commit, subject, word, told if word != "skipped" else f"{told}, not decided", pair["loss"]["value"])


def sentences(found: Found, asked: Asked) -> Sequence[str]:
    """Return what a bisection found."""
    if found.first is not None:
        return [
            f"{found.first.commit[:12]} is the first slower commit: {found.first.subject}",
            f"{asked.bad} takes {format_percent(found.loss)} longer than {asked.good}.",
        ]
    if found.left:
        return ["One of these is the first slower commit; those between could not be measured:", *found.left]
    if found.undecided is not None:
        return [f"{asked.bad} could not be compared with {asked.good}: {found.undecided}"]
    return [f"{asked.bad} is not slower than {asked.good}: there is nothing to find."]
