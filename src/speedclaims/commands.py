"""Compare whole commands, run in turn: ``speedclaims run 'old' 'new'``."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speedclaims.errors import SpeedclaimsError
from speedclaims.fixtures.comparison import Comparison, cases_of, result_of
from speedclaims.measure.alternatives import measure_alternatives
from speedclaims.measure.interleave import Settings, work_of

_OF_SHELL = frozenset("|&;<>()$`*?{}~")
_MOST_SHOWN = 200


class CommandError(SpeedclaimsError):
    """A command that cannot be compared, in one line."""


@dataclass
class _Command:
    """A command as it runs."""

    text: str
    name: str
    arguments: list[str] | str
    is_shell: bool
    fails: bool
    prepare: str | None
    output: bytes | None = field(default=None, repr=False)

    def __call__(self) -> int:
        """Run it without its output, and return its exit code.

        Raises:
            CommandError: it failed.
        """
        code = self._run(subprocess.DEVNULL).returncode
        self._check(code)
        return code

    def first(self) -> bytes:
        """Run it and return what it writes to the standard output.

        Raises:
            CommandError: it cannot be run, or failed.
        """
        self.set_up()
        done = self._run(subprocess.PIPE)
        self._check(done.returncode, done.stderr or b"")
        return done.stdout or b""

    def set_up(self) -> None:
        """Run the command that prepares it."""
        if self.prepare is None:
            return
        done = subprocess.run(self.prepare, shell=True, capture_output=True, check=False)  # noqa: S602 - the user's
        if done.returncode:
            raise CommandError(f"--prepare {self.prepare!r} ended with {done.returncode}: {_last(done.stderr)}")

    def _run(self, out: int) -> "subprocess.CompletedProcess[bytes]":
        error = subprocess.PIPE if out == subprocess.PIPE else subprocess.DEVNULL
        try:
            return subprocess.run(  # noqa: S603 - the user's
                self.arguments, shell=self.is_shell, stdin=subprocess.DEVNULL, stdout=out, stderr=error, check=False
            )
        except OSError as problem:
            raise CommandError(f"{self.text}: it cannot be run ({problem.strerror or problem})") from None

    def _check(self, code: int, said: bytes = b"") -> None:
        if code and not self.fails:
            why = _last(said)
            raise CommandError(
                f"{self.text}: it ended with {code}{why and f': {why}'}; add --ignore-failure if that is meant"
            )


def _last(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:_MOST_SHOWN] if lines else ""


@dataclass(frozen=True)
class Asked:
    """Hold the options of ``speedclaims run``.

    Attributes:
        commands: at least two.
        names: one for each command; empty for the commands themselves.
        seconds: time limit.
        confidence: of all comparisons together.
        is_shell: whether a shell runs the commands.
        ignores_failure: whether a command may end with another code than 0.
        has_equal_output: whether all commands must write the same.
        prepare: a command that runs before each, outside the clock.
    """

    commands: Sequence[str]
    names: Sequence[str] = ()
    seconds: float = 10.0
    confidence: float = 0.95
    is_shell: bool = False
    ignores_failure: bool = False
    has_equal_output: bool = False
    prepare: str | None = None


def compare_commands(asked: Asked) -> Comparison:
    """Run commands in balanced orders and compare each with the first.

    Each call starts a process, so what differs between processes is in the rounds.

    Raises:
        CommandError: a command cannot be run or fails, or the outputs differ.
    """
    commands = _commands(asked)
    outputs = [one.first() for one in commands]
    details: list[str] = []
    equivalence = "not_checked"
    if asked.has_equal_output:
        for one, output in zip(commands, outputs, strict=True):
            if output != outputs[0]:
                raise CommandError(
                    f"{one.name} writes something else than {commands[0].name}: {_difference(outputs[0], output)}"
                )
        equivalence = "passed"
    works = [work_of(one, one, one.set_up if asked.prepare else None, _nothing, None) for one in commands]
    settings = Settings(max_time=asked.seconds, confidence=asked.confidence)
    timings = measure_alternatives(works, settings)
    names = [one.name for one in commands]
    (case,) = cases_of(None)
    result = result_of(case, names, names[0], [timings], asked.confidence, equivalence, details, between_sd=0.0)  # type: ignore[arg-type]
    return Comparison(names[0], (result,), asked.confidence, {}, note="")


def _nothing() -> None:
    """Wait for nothing: a command has ended."""


def _commands(asked: Asked) -> list[_Command]:
    if len(asked.commands) < 2:
        raise CommandError("give at least two commands, each as one argument: speedclaims run 'old' 'new'")
    names = list(asked.names) or list(asked.commands)
    if not asked.names and len(set(names)) != len(names):
        raise CommandError("a command is given twice: name each with -n")
    if len(names) != len(asked.commands) or len(set(names)) != len(names):
        raise CommandError(
            f"{len(asked.commands)} commands and {len(set(names))} names: give a name of its own to each"
        )
    found = []
    for text, name in zip(asked.commands, names, strict=True):
        try:
            parts = shlex.split(text)
        except ValueError as error:
            raise CommandError(f"{text}: its quotes do not match ({error})") from None
        if not parts:
            raise CommandError("a command is empty: give each as one argument")
        if not asked.is_shell:
            if _OF_SHELL & set(text) and _needs_shell(text):
                raise CommandError(f"{text}: only a shell understands this: add --shell")
            if shutil.which(parts[0]) is None and not Path(parts[0]).exists():
                raise CommandError(f"{text}: there is no command {parts[0]}")
        arguments: list[str] | str = text if asked.is_shell else parts
        found.append(_Command(text, name, arguments, asked.is_shell, asked.ignores_failure, asked.prepare))
    return found


def _needs_shell(text: str) -> bool:
    """Whether a character of the shell is outside of quotes."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:
        return True
    return any(set(token) <= set("|&;<>()") for token in tokens if token)


def _difference(one: bytes, other: bytes) -> str:
    """Return the first line that differs."""
    lines = [text.decode("utf-8", "replace").splitlines() for text in (one, other)]
    for number, (left, right) in enumerate(zip(*lines, strict=False), start=1):
        if left != right:
            return f"line {number} is {left[:60]!r} and {right[:60]!r}"
    return f"{len(lines[0])} lines and {len(lines[1])}"
