"""Functions are compared in scripts and notebooks, whole commands in a shell, without pytest."""

import asyncio
import json
import math
import subprocess
import sys

import pytest

import speedclaims
from speedclaims import cli
from speedclaims.fixtures.comparison import CompareError
from speedclaims.measure.calls import RefusedError


def slow():
    return sum(range(9000))


def fast():
    return 40495500


def test_a_pair_in_a_script():
    found = speedclaims.pair(slow, fast, equivalent=lambda a, b: a == b, seconds=0.5)
    assert found.speedup > 10
    assert found.low < found.speedup < found.high
    assert found.cases[0].equivalence == "passed"


def test_the_sides_of_a_pair_are_called_by_their_names():
    assert list(speedclaims.pair(slow, fast, seconds=0.1).cases[0].seconds) == ["slow", "fast"]
    assert list(speedclaims.pair(lambda: 1, lambda: 2, seconds=0.1).cases[0].seconds) == ["before", "after"]
    assert list(speedclaims.pair(slow, slow, seconds=0.1).cases[0].seconds) == ["before", "after"]


def added(n):
    text = ""
    for number in range(n):
        text += str(number)
    return text


def joined(n):
    return "".join([str(number) for number in range(n)])


def squared(n):
    return "".join([str(number) for number in range(n) for _ in range(n)][::n])


def test_several_alternatives_over_sizes():
    alternatives = {"added": added, "joined": joined, "squared": squared}
    found = speedclaims.compare(
        alternatives, baseline="joined", over={"n": [50, 200]}, equivalent=lambda a, b: a == b, seconds=0.5
    )
    assert [one.case for one in found.cases] == [{"n": 50}, {"n": 200}]
    assert {one.name for one in found.cases[0].ratios} == {"added", "squared"}
    assert found.cases[1].ratio("squared").verdict == "slower"
    assert found.exponents["squared"] > 1.6
    assert 0.7 < found.exponents["joined"] < 1.4
    with pytest.raises(CompareError, match="several ratios"):
        found.speedup  # noqa: B018 - it raises


def test_async_alternatives_rates_and_setup():
    seen = []

    async def wait():
        await asyncio.sleep(0.002)

    async def wait_longer():
        await asyncio.sleep(0.006)

    found = speedclaims.compare(
        {"long": wait_longer, "short": wait}, setup=seen.append, units=10, unit="requests", seconds=0.5
    )
    assert 1.5 < found.speedup < 4
    assert set(seen) == {"long", "short"}
    assert "requests/s" in str(found)


def test_the_table_and_the_html_say_the_same(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = speedclaims.pair(slow, fast, names=("<old>", "new"), seconds=0.3)
    text, page = str(found), found._repr_html_()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "faster" in text
    assert "faster" in page
    assert "&lt;old&gt;" in page
    assert "<old>" in text
    assert "Measured in one process" in text


WRONG = {
    "compare({'a': slow})": "at least two names",
    "compare([slow, fast])": "at least two names",
    "compare({'a': slow, 'b': 3})": "the alternative b is int, not callable",
    "compare({'a': slow, 'b': lambda n: n})": "the alternative b needs arguments: give their values in over",
    "compare({'a': slow, '': fast})": "is no name of an alternative",
    "compare({'a': slow, 'b': fast}, baseline='c')": "the baseline 'c' is none of a, b",
    "compare({'a': added, 'b': joined}, over={'n': 3})": "give names of parameters with lists of values",
    "compare({'a': slow, 'b': fast}, seconds=0)": "seconds is 0: it is the positive number",
    "compare({'a': slow, 'b': fast}, seconds='x')": "seconds is 'x': give a number",
    "compare({'a': slow, 'b': fast}, confidence=1)": "confidence is 1: it is a number between 0 and 1",
    "compare({'a': slow, 'b': fast}, units='x')": "units is 'x': give a number",
    "compare({'a': slow, 'b': fast}, over={'n': [1]})": "a cannot be called with n by name",
    "compare({'a': slow, 'b': fast}, equivalent=lambda: True)": "equivalent is a function of two results",
    "compare({'a': slow, 'b': lambda: 1}, equivalent=lambda a, b: a == b)": "b does not compute the same as a",
    "pair(slow, fast, names=('x', 'x'))": "give two different texts",
    "pair(slow, fast, names=3)": "give two different texts",
}


@pytest.mark.parametrize("call", WRONG)
def test_wrong_arguments_are_refused_in_one_line(call):
    with pytest.raises((TypeError, ValueError), match=WRONG[call]):
        eval(call, {"compare": speedclaims.compare, "pair": speedclaims.pair, **globals()})  # noqa: S307 - of ours


def test_a_lazy_alternative_is_refused():
    with pytest.raises(RefusedError, match="returns a generator"):
        speedclaims.pair(slow, lambda: (one for one in range(3)), seconds=0.3)


def command(code):
    return f'{sys.executable} -I -S -c "{code}"'


def test_commands_are_run_in_turn(capsys):
    names = ["-n", "slow", "-n", "fast"]
    slow_one, fast_one = command("import time; time.sleep(0.2)"), command("pass")
    assert cli.main(["run", slow_one, fast_one, *names, "--seconds", "6", "--output-equal", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first, second = found["cases"][0]["alternatives"]
    assert (first["name"], second["name"], second["verdict"]) == ("slow", "fast", "faster")
    assert second["low"] > 2
    assert found["cases"][0]["equivalence"] == "passed"


def test_equal_commands_are_not_told_apart(capsys):
    assert cli.main(["run", command("pass"), command("pass "), "--seconds", "3", "--json"]) == 0
    (_, second) = json.loads(capsys.readouterr().out)["cases"][0]["alternatives"]
    assert second["low"] < 1.05
    assert second["high"] > 0.95


def test_a_command_that_prepares_runs_before_each_and_is_not_timed(capsys, tmp_path):
    log = tmp_path / "log"
    options = ["--prepare", f"sleep 0.5; echo x >> {log}", "--seconds", "1.5", "--json"]
    assert cli.main(["run", command("pass"), command("pass "), *options]) == 0
    alternatives = json.loads(capsys.readouterr().out)["cases"][0]["alternatives"]
    assert all(one["seconds"] < 0.45 for one in alternatives)
    assert len(log.read_text().splitlines()) >= 6


LINES = {
    ("true",): "give at least two commands",
    ("true", "no-such-command-here"): "there is no command no-such-command-here",
    ("true", "false"): "false: it ended with 1; add --ignore-failure if that is meant",
    ("ls | wc", "ls"): "ls | wc: only a shell understands this: add --shell",
    ("echo '", "ls"): "its quotes do not match",
    ("true", ""): "a command is empty",
    ("echo 1", "echo 2", "--output-equal"): "echo 2 writes something else than echo 1: line 1 is '1' and '2'",
    ("true", "true", "-n", "a"): "2 commands and 1 names: give a name of its own to each",
    ("true", "true"): "a command is given twice: name each with -n",
    ("true", "true ", "--prepare", "exit 3"): "--prepare 'exit 3' ended with 3",
    ("true", "true ", "--seconds", "0"): "seconds",
}


@pytest.mark.parametrize("arguments", LINES, ids=" ".join)
def test_commands_that_cannot_be_compared_are_refused_in_one_line(arguments, capsys):
    try:
        code = cli.main(["run", *arguments])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    said = capsys.readouterr().err
    assert LINES[arguments] in said


def test_quoted_characters_of_a_shell_need_none(capsys):
    python = f"{sys.executable} -I -S -c"
    assert cli.main(["run", f"{python} 'print(1 > 0)'", f'{python} "print(2 > 1)"', "--seconds", "0.5", "--json"]) == 0
    assert cli.main(["run", "true && true", "true", "--shell", "--seconds", "0.5", "--json"]) == 0


def test_importing_the_package_stays_cheap():
    code = "import sys, speedclaims; print([name for name in ('rich', 'speedclaims.direct') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_not_a_number_is_no_interval_in_json():
    found = speedclaims.pair(slow, fast, seconds=0.3)
    assert math.isfinite(found.as_json()["cases"][0]["alternatives"][1]["speedup"])
    json.dumps(found.as_json(), allow_nan=False)
