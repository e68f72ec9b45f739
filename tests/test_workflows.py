"""What the workflows may do, and that what they call exists."""

import configparser
import re
from pathlib import Path

import pytest

from bench.gpu.__main__ import _parser

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "examples").glob("*/.github/workflows/*.yml"))
ACTION = ROOT / "action.yml"
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
FOREIGN = ("pull_request", "pull_request_target", "issue_comment", "workflow_run")
"""Events that bring somebody else's code or words."""


def jobs():
    return [
        pytest.param(name, job, id=f"{path.stem}-{name}")
        for path in FILES
        for name, job in yaml.safe_load(path.read_text())["jobs"].items()
    ]


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def test_there_are_workflows():
    assert [path.name for path in FILES] == ["release.yml", "speedup.yml", "tests.yml"]
    assert [path.name for path in EXAMPLES] == ["speedup-comment.yml", "speedup.yml", "shards.yml"]


def every(path):
    """Return the jobs of a workflow, or the action as one job."""
    found = yaml.safe_load(path.read_text())
    return found["jobs"] if "jobs" in found else {"action": found["runs"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_nothing_else(path):
    found = yaml.safe_load(path.read_text())
    assert found["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in found["jobs"].items() if "permissions" in job}
    assert more == ({"publish": {"id-token": "write"}} if path.stem == "release" else {})
    assert "secrets." not in path.read_text()


@pytest.mark.parametrize("path", [*FILES, *EXAMPLES, ACTION], ids=lambda path: path.stem)
def test_actions_are_pinned_by_hash_and_say_which_version_that_is(path):
    used = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    assert [line for line in used if not PINNED.match(line)] == []


@pytest.mark.parametrize("path", [*FILES, *EXAMPLES, ACTION], ids=lambda path: path.stem)
def test_text_from_an_event_never_becomes_a_command(path):
    for job in every(path).values():
        assert [command for command in commands(job) if "${{" in command] == []


@pytest.mark.parametrize(("name", "job"), jobs())
def test_a_machine_of_ones_own_runs_nobody_elses_code(name, job):
    if "self-hosted" not in job["runs-on"]:
        assert name != "gpu"
        return
    allowed = re.findall(r"github\.event_name == '(\w+)'", job["if"])
    assert allowed
    assert set(allowed).isdisjoint(FOREIGN)
    rest = re.sub(r"github\.event_name == '\w+'|\|\||\$\{\{|\}\}|\s", "", job["if"])
    assert rest == ""


@pytest.mark.parametrize(("name", "job"), jobs())
def test_a_job_ends_in_time_and_keeps_no_credentials(name, job):
    assert job["timeout-minutes"] <= 90, name
    checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == ([] if name == "publish" else [False])


@pytest.mark.parametrize(("name", "job"), jobs())
def test_what_a_job_calls_exists(name, job):
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    known = {section.removeprefix("testenv:") for section in tox.sections()} | {"tests"}
    known |= {part for one in known if one.startswith("{") for part in one.strip("{}").split(",")}
    called = [found for command in commands(job) for found in re.findall(r"tox -e ([\w,-]+)", command)]
    assert called or name == "publish", name
    assert {part for one in called for part in one.split(",")} <= known


@pytest.mark.parametrize(("name", "job"), jobs())
def test_the_options_that_a_job_gives_exist(name, job, pytestconfig):
    lines = [line for command in commands(job) for line in command.splitlines() if "pip install" not in line]
    given = {option for line in lines for option in re.findall(r"(?<=\s|\()(--[a-z-]+)", line)}
    parsers = (pytestconfig._parser.optparser, _parser())
    known = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    assert given <= known, name


def triggers(path):
    """Return the events of a workflow; YAML 1.1 reads the key `on` as a boolean."""
    return yaml.safe_load(path.read_text())[True]


def test_the_example_that_runs_a_pull_request_s_code_may_only_read():
    (path,) = [path for path in EXAMPLES if path.stem == "speedup"]
    found = yaml.safe_load(path.read_text())
    assert found["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in found["jobs"].values())
    assert "pull_request" in triggers(path)


def test_the_example_that_may_write_runs_nobody_elses_code():
    (path,) = [path for path in EXAMPLES if path.stem == "speedup-comment"]
    found = yaml.safe_load(path.read_text())
    assert found["permissions"] == {}
    assert list(triggers(path)) == ["workflow_run"]
    (measuring,) = [path for path in EXAMPLES if path.stem == "speedup"]
    assert triggers(path)["workflow_run"]["workflows"] == [yaml.safe_load(measuring.read_text())["name"]]
    (job,) = found["jobs"].values()
    assert job["permissions"] == {"actions": "read", "pull-requests": "write"}
    assert [step["uses"].split("@")[0] for step in job["steps"]] == ["OWNER/speedclaims"]


def test_the_inputs_that_the_examples_give_to_the_action_exist():
    known = set(yaml.safe_load(ACTION.read_text())["inputs"])
    given = [
        step.get("with", {})
        for path in EXAMPLES
        for job in every(path).values()
        for step in job["steps"]
        if "/speedclaims@" in step.get("uses", "")
    ]
    assert len(given) == 2
    assert set().union(*given) <= known


def test_a_release_is_built_once_and_published_by_a_job_that_runs_nothing_else():
    (path,) = [path for path in FILES if path.stem == "release"]
    assert triggers(path) == {"push": {"tags": ["v*"]}}
    build, publish = (yaml.safe_load(path.read_text())["jobs"][name] for name in ("build", "publish"))
    (kept,) = [step["with"] for step in build["steps"] if "upload-artifact" in step.get("uses", "")]
    assert (publish["needs"], publish["environment"]) == ("build", "pypi")
    taken, published = publish["steps"]
    assert taken["with"] == {key: kept[key] for key in ("name", "path")}
    assert published["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "with" not in published  # attestations are its default, and a trusted publisher needs no password


def test_a_pull_request_without_a_base_is_not_let_through():
    (step,) = [
        step
        for _, job in [parameter.values for parameter in jobs()]
        for step in job["steps"]
        if "GATED" in step.get("env", {})
    ]
    assert step["env"]["GATED"].startswith("${{ github.event_name == 'pull_request' ||")
    assert "--benchmark-compare=base/record.json --speedup-fail" in step["run"]


def test_tox_checks_every_workflow_and_the_action():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    checked = tox["testenv:workflows"]["commands"].replace("\\\n", " ").split()
    assert {str(path.relative_to(ROOT)) for path in (*FILES, *EXAMPLES, ACTION)} <= set(checked)
