"""The table of mutants is sound, and its runner tells one that lives from one that is caught or breaks."""

import ast
import dataclasses
import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.mutants.run import main
from tests.mutants.table import ROOT, Mutant, StaleMutant, load
from trainers import families, family

TABLE = load()


def functions_of(path):
    """Names of the tests that a file defines."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_there_are_at_least_200_mutants_and_each_has_a_name_of_its_own():
    assert len(TABLE) >= 200
    assert max(Counter(mutant.name for mutant in TABLE).values()) == 1


def test_every_family_has_a_mutant_which_is_tested_with_its_framework():
    frameworks = {name: family(name).framework for name in families()} | {"shared": "numpy", "plugin": "numpy"}
    assert {mutant.family: mutant.framework for mutant in TABLE} == frameworks


@pytest.mark.parametrize("mutant", TABLE, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_the_trainers_or_the_plugin_and_names_tests_that_are_there(mutant):
    assert mutant.module.startswith("speedclaims." if mutant.family == "plugin" else "trainers.")
    assert mutant.name.isidentifier()
    assert mutant.fault
    source = mutant.source()
    assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(mutant.path.read_text(encoding="utf-8")))
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert name.partition("[")[0] in functions_of(path)


KNOWN = Mutant(
    name="weakest_parity",
    family="shared",
    target="trainers.switches:weakest_parity",
    fault="the strongest decides",
    old="return max(",
    new="return min(",
    tests=("tests/trainers/test_switches.py::test_the_weakest_parity_decides",),
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"old": "return sum("}, r"'return sum\(' stands 0 times in trainers.switches:weakest_parity"),
        ({"old": "e"}, "stands [0-9]+ times"),
        ({"target": "trainers.switches:strongest_parity"}, "trainers.switches has no strongest_parity"),
        ({"target": "trainers.switches:Switch.weakest_parity"}, "has no Switch.weakest_parity"),
        ({"target": "trainers.knobs:weakest_parity"}, "there is no module trainers.knobs"),
    ],
)
def test_a_mutant_whose_target_is_gone_is_an_error(changes, said):
    with pytest.raises(StaleMutant, match=said):
        dataclasses.replace(KNOWN, **changes).source()


IN_THE_PLUGIN = Mutant(
    name="in_the_plugin",
    family="plugin",
    target="speedclaims.measure.statistics:min_values",
    fault="an interval is thought to need a value less",
    old="2 / (1 - confidence)",
    new="1 / (1 - confidence)",
    tests=(
        "tests/speedclaims/measure/test_statistics.py::test_an_interval_needs_as_many_values_as_its_confidence_asks",
    ),
)

RUNNING = """
import json, sys
from tests.mutants.run import run_mutants
from tests.mutants.table import Mutant

mutants = [Mutant(**{**values, "tests": tuple(values["tests"])}) for values in json.loads(sys.argv[1])]
print(json.dumps({verdict.name: [verdict.outcome, verdict.said] for verdict in run_mutants(mutants, 2)}))
"""


def test_the_runner_tells_what_is_caught_from_what_is_not():
    test, other = KNOWN.tests[0], "tests/trainers/test_switches.py::test_no_switches_make_a_ladder_of_one_row"
    mutants = [
        KNOWN,
        dataclasses.replace(KNOWN, name="harmless", new="return 1 and max("),
        dataclasses.replace(KNOWN, name="seen_by_no_test", tests=(other,)),
        dataclasses.replace(KNOWN, name="raising", new="return max.nothing("),
        dataclasses.replace(KNOWN, name="no_python", new="return max(("),
        dataclasses.replace(KNOWN, name="gone", old="return sum("),
        dataclasses.replace(
            KNOWN,
            name="elsewhere",
            target="trainers.pytorch.clipping:clip_by_global_norm",
            old="math.isinf",
            new="not math.isfinite",
        ),
        dataclasses.replace(KNOWN, name="untested", tests=(f"{test}_more",)),
        IN_THE_PLUGIN,
    ]
    values = json.dumps([dataclasses.asdict(mutant) for mutant in mutants])
    command = [sys.executable, "-c", RUNNING, values]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    verdicts = json.loads(done.stdout)
    assert verdicts["weakest_parity"] == ["caught", test]
    assert verdicts["in_the_plugin"] == ["caught", f"{IN_THE_PLUGIN.tests[0]}[0.95-6]"]
    assert verdicts["harmless"][0] == verdicts["seen_by_no_test"][0] == "survived"
    broken = {name: said for name, (outcome, said) in verdicts.items() if outcome == "broken"}
    assert "AttributeError" in broken.pop("raising")
    assert "(no_python, line" in broken.pop("no_python")
    assert "stands 0 times" in broken.pop("gone")
    assert broken.pop("elsewhere") == "no test imports trainers.pytorch.clipping"
    assert "pytest ended with" in broken.pop("untested")
    # The tests without a mutant: of those named here, one is not there.
    assert set(broken) == {"tests/trainers/test_switches.py"}
    assert verdicts.pop("tests/speedclaims/measure/test_statistics.py")[0] == "passed"
    assert set(verdicts) - set(broken) == {mutant.name for mutant in mutants}


def test_an_unknown_name_is_one_line(capsys):
    assert main(["no_such_mutant"]) == 2
    assert capsys.readouterr().err.startswith("error: no mutant is called no_such_mutant: ")
