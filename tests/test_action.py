"""The action's steps, run by bash as GitHub runs them: what they measure, and whom they comment for."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from speedclaims import cli
from tests.speedclaims.comparing import measured, record, save
from tests.speedclaims.report.conftest import poison
from tests.speedclaims.report.sample import sample_record

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parents[1]
STEPS = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["runs"]["steps"]
EXPRESSION = re.compile(r"\$\{\{ ([^}]+) \}\}")
QUICK = "-pno:xdist -pno:hypothesispytest --speedup-max-time=3 --speedup-precision=0.2 --speedup-processes=3"
"""Three processes: where one alone changes its level, as on a busy machine, its interval says next to nothing."""

FAIL = "200"
"""The loss that fails, in percent: far above what a machine busy with other tests adds to a second of measuring."""

SHA = "0123456789abcdef0123456789abcdef01234567"
VALUES = {
    "inputs.pytest-arguments": QUICK,
    "inputs.fail": FAIL,
    "inputs.name": "speedup",
    "github.token": "token",
    "github.event.workflow_run.id": "77",
    "github.event.workflow_run.head_repository.owner.login": "fork",
    "github.event.workflow_run.head_branch": "a-$(touch hacked)-`touch hacked`",
    "github.event.workflow_run.head_sha": SHA,
}

GH = """
import json, os, pathlib, subprocess, sys
state = json.loads(pathlib.Path(os.environ["GH_STATE"]).read_text())
arguments = sys.argv[1:]
assert os.environ["GH_TOKEN"] == "token"
def option(name, default=None):
    return arguments[arguments.index(name) + 1] if name in arguments else default
fields = dict(arguments[i + 1].split("=", 1) for i, one in enumerate(arguments) if one in ("-f", "-F"))
if arguments[:2] == ["run", "download"]:
    assert arguments[2] == "77" and option("--name") == "speedup", arguments
    folder = pathlib.Path(option("--dir"))
    folder.mkdir()
    (folder / "record.json").write_text(state["artifact"])
    sys.exit()
place = next(one for one in arguments[1:] if one.startswith("repos/"))
method = option("--method", "GET")
if method != "GET":
    body = pathlib.Path(fields["body"].removeprefix("@")).read_text()
    print(json.dumps([method, place, body]), file=open(os.environ["GH_WRITTEN"], "a"))
    sys.exit()
answers = {
    "repos/owner/project/pulls": state["pulls"].get(fields.get("head"), []),
    "repos/owner/project/actions/runs/77/artifacts": {"total_count": int("artifact" in state)},
    "repos/owner/project/issues/5/comments": state.get("comments", []),
}
jq = subprocess.run(["jq", "-r", option("--jq")], input=json.dumps(answers[place]), text=True, check=True)
"""


class Runner:
    """A machine of GitHub's with one job on it."""

    def __init__(self, folder):
        self.temp, self.workspace, self.bin = folder / "temp", folder / "workspace", folder / "bin"
        for one in (self.temp, self.workspace, self.bin):
            one.mkdir()
        self.program("python", f'exec "{sys.executable}" "$@"')
        self.outputs = {}

    def program(self, name, script):
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def run(self, name, event):
        """Run the step with this name."""
        (step,) = [one for one in STEPS if one["name"].startswith(name)]
        known = VALUES | self.outputs
        given = {
            key: EXPRESSION.sub(lambda found: known[found.group(1)], value)
            for key, value in step.get("env", {}).items()
        }
        output = self.temp / "output"
        output.write_text("")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "GITHUB_"))}
        environment |= {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_EVENT_NAME": event,
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.temp / "summary.md"),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_REPOSITORY": "owner/project",
            "GITHUB_SERVER_URL": "https://github.example",
            "GH_STATE": str(self.temp / "state.json"),
            "GH_WRITTEN": str(self.temp / "written.json"),
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(
            command, cwd=self.workspace, env=environment | given, capture_output=True, text=True, check=False
        )
        for line in output.read_text().splitlines():
            key, _, value = line.partition("=")
            self.outputs[f"steps.{step['id']}.outputs.{key}"] = value
        return done


# -- measuring -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measuring(tmp_path_factory):
    """Return a runner with the example's checkout, on which main has saved a base."""
    runner = Runner(tmp_path_factory.mktemp("runner"))
    shutil.copytree(ROOT / "examples" / "ci_gate", runner.workspace, dirs_exist_ok=True)
    done = runner.run("Measure", "push")
    assert done.returncode == 0, done.stdout + done.stderr
    assert runner.run("Take the report", "push").returncode == 0
    return runner


def summary(runner):
    """Return what the job's summary says of the newest report."""
    (runner.temp / "summary.md").unlink(missing_ok=True)
    assert runner.run("Show the tables", "pull_request").returncode == 0
    return (runner.temp / "summary.md").read_text(encoding="utf-8")


def test_a_pull_request_that_changes_nothing_passes_and_the_summary_says_so(measuring):
    done = measuring.run("Measure", "pull_request")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "**Gate passed" in summary(measuring)


def test_a_pull_request_that_loses_the_speedup_fails_and_the_summary_says_so(measuring):
    words = measuring.workspace / "words.py"
    kept = words.read_text(encoding="utf-8")
    slower = kept.replace("return dict(Counter", "[text.split() for _ in range(20)]\n    return dict(Counter")
    assert slower != kept
    words.write_text(slower, encoding="utf-8")
    try:
        done = measuring.run("Measure", "pull_request")
        assert done.returncode == 1, done.stdout
    finally:
        words.write_text(kept, encoding="utf-8")
    assert "**Gate failed, 1 alarm. 1 pair: 1 regressed.**" in summary(measuring)


def test_a_pull_request_without_a_base_fails_before_it_measures(tmp_path):
    runner = Runner(tmp_path)
    done = runner.run("Measure", "pull_request")
    assert done.returncode == 1
    assert done.stdout == (
        "::error::speedclaims: no base to compare with: run this workflow on the default branch first\n"
    )
    assert summary(runner) == "No speedups were measured: the log says why.\n"


def test_an_event_that_gives_a_fork_s_code_a_token_is_refused(tmp_path):
    (step,) = [one for one in STEPS if one["name"].startswith("Refuse")]
    assert STEPS.index(step) == 0
    assert step["if"] == "${{ github.event_name == 'pull_request_target' }}"
    assert Runner(tmp_path).run("Refuse", "pull_request_target").returncode == 1


def test_the_commands_of_the_page_work_in_the_example(tmp_path):
    shutil.copytree(ROOT / "examples" / "ci_gate", tmp_path, dirs_exist_ok=True)
    page = (ROOT / "docs" / "how-to" / "github.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert [name for name, *_ in commands] == ["pytest", "pytest", "speedclaims"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    for name, *arguments in commands:
        more = [*QUICK.split(), f"--speedup-fail={FAIL}"] if "--speedup-fail" in arguments else QUICK.split()
        command = [sys.executable, "-m", name, *arguments, *(more if name == "pytest" else ())]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "### ✓ Gate passed" in done.stdout


# -- commenting ----------------------------------------------------------------------------------------------------

HEAD = f"fork:{VALUES['github.event.workflow_run.head_branch']}"
OPEN = {HEAD: [{"number": 5, "head": {"sha": SHA}}]}
MARK = "<!-- speedclaims: speedup -->"


def comment(number, login, body):
    return {"id": number, "user": {"login": login}, "body": body}


def commented(runner, **state):
    """Return the requests that write, or the step that failed; no request where no pull request has the commit."""
    found = {"pulls": OPEN, "comments": [], **state}
    (runner.temp / "state.json").write_text(json.dumps(found))
    runner.program("gh", f'exec "{sys.executable}" "{runner.temp}/gh.py" "$@"')
    (runner.temp / "gh.py").write_text(GH)
    # The new environment has this plugin: nothing is installed.
    runner.program("python3", f'mkdir renderer && cp -r "{runner.bin}" renderer/')
    runner.program("python", "exit 0")
    runner.program("speedclaims", f'exec "{sys.executable}" -m speedclaims "$@"')
    done = runner.run("Find", "workflow_run")
    assert done.returncode == 0, done.stderr
    if not runner.outputs["steps.found.outputs.numbers"]:
        return []
    for name in ("Render", "Comment"):
        done = runner.run(name, "workflow_run")
        if done.returncode:
            return done
    assert not list(runner.temp.parent.rglob("hacked"))
    return [json.loads(line) for line in (runner.temp / "written.json").read_text().splitlines()]


needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq, by which the stand-in for gh filters, is missing")


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path)


def report(*pairs):
    return json.dumps(record(*pairs))


@needs_jq
def test_a_first_comment_is_new_and_a_second_replaces_it(runner, tmp_path):
    ((method, place, body),) = commented(runner, artifact=report(measured("a")))
    assert (method, place) == ("POST", "repos/owner/project/issues/5/comments")
    assert body.startswith(MARK)
    assert "| 2.00x" in body
    assert f"Commit {SHA}, [run and report](https://github.example/owner/project/actions/runs/77)" in body
    (tmp_path / "second").mkdir()
    others = [comment(1, "somebody", body), comment(2, "github-actions[bot]", "mine"), comment(3, "somebody", "hello")]
    ours = [comment(4, "github-actions[bot]", body), comment(6, "github-actions[bot]", body)]
    again = commented(Runner(tmp_path / "second"), artifact=report(measured("a")), comments=[*others, *ours])
    assert [one[:2] for one in again] == [["PATCH", "repos/owner/project/issues/comments/4"]]


@needs_jq
def test_a_commit_that_is_no_longer_the_newest_gets_no_comment(runner):
    moved = {HEAD: [{"number": 5, "head": {"sha": "f" * 40}}]}
    assert commented(runner, pulls=moved, artifact=report(measured("a"))) == []


@needs_jq
def test_a_run_without_a_report_says_that_nothing_was_measured(runner):
    ((_, _, body),) = commented(runner)
    assert body.startswith(f"{MARK}\n### ✗ No speedups were measured\n\nCommit {SHA}")


@needs_jq
def test_of_a_report_that_is_no_record_the_comment_says_so_and_shows_nothing(runner):
    ((_, _, body),) = commented(runner, artifact='{"speedclaims": "![x](https://evil.example)"}')
    assert "### ✗ The record of this run cannot be read" in body
    assert "evil" not in body


@needs_jq
def test_hostile_texts_of_a_record_are_no_markup_in_the_comment(runner):
    ((_, _, body),) = commented(runner, artifact=json.dumps(poison(sample_record())))
    assert "<script" not in body
    assert "@user" not in body
    assert "](http:" not in body


def test_no_step_that_reads_what_a_pull_request_wrote_has_a_token():
    tokens = [step["name"].split()[0] for step in STEPS if "github.token" in json.dumps(step)]
    assert tokens == ["Find", "Comment"]
    for step in STEPS:
        if step["name"].split()[0] in tokens:
            assert step["if"].startswith("${{ github.event_name == 'workflow_run'")
            assert "record.json" not in step["run"]


def test_what_renders_the_comment_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.match(r"[\w-]+", one).group() for one in project["dependencies"]}
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert needed
    assert needed <= set(pinned)


def test_the_record_of_the_example_is_one_that_the_comment_can_show(measuring, tmp_path):
    out = tmp_path / "comment.md"
    made = json.loads((measuring.temp / "speedup" / "record.json").read_text(encoding="utf-8"))
    path = save(tmp_path / "record.json", made)
    assert cli.main(["export", str(path), "--to", "github-comment", "-o", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "Gate" in text
    assert "test\\_counting" in text
