"""A measured claim that no test names is an error wherever a run has collected all tests that could name it."""

import pytest

USAGE = 4

LEDGER = """
[[claim]]
id = "loop.thrice"
source = "notes.txt"
text = "three times faster"
kind = "measured"
low = 1.1

[[claim]]
id = "loop.unjudged"
source = "notes.txt"
text = "four times faster"
kind = "measured"
low = 1.1
"""

TEST = """
import pytest

@pytest.mark.speedup_claim("loop.thrice")
def test_loop(pair):
    pair(before=lambda: sum(range(50_000)), after=lambda: sum(range(500)))
"""

OTHER = TEST.replace("thrice", "unjudged").replace("test_loop", "test_other")
NEVER = "no test judges the claim 'loop.unjudged'"


@pytest.fixture
def suite(project):
    """A ledger above the folder of the tests."""
    (project.path / "suite").mkdir()
    (project.path / "suite" / "test_loop.py").write_text(TEST)
    project.write(claims_toml=LEDGER, pytest_ini="[pytest]\ntestpaths = suite\n")
    return project


def says(result):
    return [line for line in result.outlines + result.errlines if line.startswith("ERROR: ")]


@pytest.mark.parametrize("arguments", [[], ["."], ["suite"], ["-k", "nothing"]])
def test_the_whole_suite_refuses_it_also_where_the_ledger_lies_above_the_tests(suite, arguments):
    result = suite.run(*arguments)
    assert result.ret == USAGE
    (line,) = says(result)
    assert NEVER in line


def test_a_part_of_the_suite_does_not(suite):
    (suite.path / "suite" / "test_other.py").write_text(OTHER)
    assert suite.run("suite/test_loop.py").ret == 0
    assert suite.run().ret == 0


def test_the_whole_suite_and_a_file_elsewhere_do_not_ask_for_the_claims_of_that_other_ledger(suite):
    (suite.path / "suite" / "test_other.py").write_text(OTHER)
    (suite.path / "bench").mkdir()
    (suite.path / "bench" / "claims.toml").write_text(LEDGER)
    (suite.path / "bench" / "test_bench.py").write_text(TEST)
    assert suite.run("suite", "bench/test_bench.py").ret == 0
    (line,) = says(suite.run("suite", "bench"))
    assert "bench/claims.toml: " + NEVER in line


def test_a_ledger_elsewhere_that_the_ini_option_names_is_checked_too(project):
    (project.path / "suite").mkdir()
    (project.path / "ledgers").mkdir()
    (project.path / "suite" / "test_loop.py").write_text(TEST)
    (project.path / "ledgers" / "all.toml").write_text(LEDGER)
    project.write(pytest_ini="[pytest]\ntestpaths = suite\nspeedup_claims = ledgers/all.toml\n")
    (line,) = says(project.run())
    assert NEVER in line


def test_a_ledger_that_the_ini_option_names_is_checked_also_where_nothing_is_measured(project):
    project.write(
        test_loop_py="def test_nothing():\n    pass\n",
        claims_toml=LEDGER,
        pytest_ini="[pytest]\nspeedup_claims = claims.toml\n",
    )
    result = project.run()
    assert result.ret == USAGE
    assert "no test judges the claim 'loop.thrice'" in says(result)[0]


SKIPPED = "import pytest\n\npytest.skip('not here', allow_module_level=True)\n"


@pytest.mark.parametrize("text", ["def broken(:\n", SKIPPED])
def test_a_file_that_could_not_be_collected_may_hold_its_test(project, text):
    project.write(test_loop_py=TEST, test_other_py=text, claims_toml=LEDGER)
    result = project.run()
    assert NEVER not in result.stdout.str() + result.stderr.str()
    assert result.ret != USAGE


@pytest.mark.parametrize("option", ["--ignore=test_other.py", "--ignore-glob=*other*"])
def test_a_file_that_was_left_out_may_hold_its_test(project, option):
    project.write(test_loop_py=TEST, test_other_py=OTHER, claims_toml=LEDGER)
    assert project.run(option).ret == 0
