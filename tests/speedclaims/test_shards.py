"""A suite in shards: who runs which tests, and one record of what they measured."""

import argparse
import json

import pytest

from speedclaims import cli
from speedclaims.shards import Shard, assign, from_environment, parse

SUITE = """
import pytest

def work(number):
    return lambda: sum(range(number))

@pytest.mark.parametrize("number", [1000, 2000, 3000])
def test_pair(pair, number):
    pair(before=work(number), after=work(number // 2), equivalent=lambda: True)

@pytest.mark.speedup_control
def test_same(pair):
    pair(before=work(1000), after=work(1000))

@pytest.mark.speedup_claim("c", alternative="b")
@pytest.mark.speedup_claim("d")
def test_alternatives(compare):
    compare({"a": work(1000), "b": work(500), "c": work(300)})

@pytest.mark.speedup_claim("d")
def test_figure(figure):
    figure(3, exact=True)

def test_other():
    pass
"""
CLAIM = """[[claim]]
id = "{}"
source = "README"
text = "it is faster"
kind = "measured"
low = {}
"""
LEDGER = CLAIM.format("c", 1.5) + CLAIM.format("d", 1.2)


def run(project, *options, out="out", ret=0):
    project.write(test_s_py=SUITE, claims_toml=LEDGER)
    result = project.run("--speedup-max-time=0.3", f"--speedup-report={out}", *options)
    assert result.ret == ret, result.stdout.str()
    return result


def merged(project, *names, ret=0):
    files = [str(project.path / name / "record.json") for name in names]
    assert cli.main(["merge", *files, "-o", str(project.path / "all.json")]) == ret
    return json.loads((project.path / "all.json").read_text())


def kinds(section):
    """Return what must not depend on how a suite is cut: the rows, and the claims with their verdicts."""
    rows = [(row["nodeid"], row["status"], row["control"], row["equivalence"]) for row in section["pairs"]]
    claims = [(row["id"], row["pair"], row["verdict"], row["overall"]) for row in section["claims"]]
    return sorted(rows), [row["nodeid"] for row in section["figures"]], sorted(claims), section["not_run"]


def test_shards_merged_equal_the_whole_run(project):
    run(project, "--speedup-max-time=1", out="whole")
    for index in (1, 2, 3):
        run(project, "--speedup-max-time=1", f"--speedup-shard={index}/3", out=f"s{index}")
    plans = [project.record(f"s{index}")["speedclaims"]["shard"] for index in (1, 2, 3)]
    assert [one["index"] for one in plans] == [1, 2, 3]
    assert plans[0]["tests"] == plans[1]["tests"] == plans[2]["tests"]
    assert len(plans[0]["tests"]) == 5
    whole, all_ = project.record("whole")["speedclaims"], merged(project, "s3", "s1", "s2")["speedclaims"]
    assert kinds(all_) == kinds(whole)
    assert [row["nodeid"] for row in all_["pairs"] if not row["control"]] == [
        row["nodeid"] for row in whole["pairs"] if not row["control"]
    ], "in the order of the suite"
    assert all_["noise_floor"]["value"] > 0
    assert all_["merged"]["holes"] == []
    assert {row["overall"] for row in all_["claims"] if row["id"] == "c"} == {"confirmed"}


def test_control_pairs_are_in_each_shard_and_other_tests_in_the_first(project):
    results = [run(project, f"--speedup-shard={index}/2", "-v", out=f"s{index}") for index in (1, 2)]
    assert ["test_other" in one.stdout.str() for one in results] == [True, False]
    assert ["test_same" in one.stdout.str() for one in results] == [True, True]


def test_a_missing_shard_is_named_with_its_tests_and_how_to_run_it(project, capsys):
    run(project, "--speedup-shard=1/2", out="s1")
    section = merged(project, "s1", ret=1)["speedclaims"]
    (hole,) = section["merged"]["holes"]
    lost = [name for name, place in project.record("s1")["speedclaims"]["shard"]["tests"].items() if place == 2]
    assert section["not_run"] == sorted(lost)
    assert hole.startswith(f"shard 2 of 2 is missing: {len(lost)} of its {len(lost)} tests never ran (test_s.py::")
    assert hole.endswith("run it again with --speedup-shard 2/2")
    assert hole in capsys.readouterr().err
    assert cli.main(["report", str(project.path / "all.json"), "-o", str(project.path / "rep")]) == 0
    assert "Shard 2 of 2 is missing" in (project.path / "rep" / "index.html").read_text()


def test_a_shard_that_was_cut_off_is_a_hole_until_it_is_run_again(project, capsys):
    run(project, "--speedup-shard=1/2", out="s1")
    run(project, "--speedup-shard=2/2", out="s2")
    record = json.loads((project.path / "s2" / "record.json").read_text())
    section = record["speedclaims"]
    lost = next(row for row in section["pairs"] if not row["control"])
    section["pairs"].remove(lost)
    section["not_run"] = [lost["nodeid"]]
    (project.path / "cut").mkdir()
    (project.path / "cut" / "record.json").write_text(json.dumps(record))
    (hole,) = merged(project, "s1", "cut", ret=1)["speedclaims"]["merged"]["holes"]
    assert "shard 2 of 2 was cut off: 1 of its" in hole
    again = merged(project, "s1", "cut", "s2")["speedclaims"]
    assert again["merged"]["holes"] == again["not_run"] == []
    assert lost["nodeid"] in {row["nodeid"] for row in again["pairs"]}


def test_a_test_that_two_records_have_counts_once_and_is_named(project, capsys):
    run(project, "-k", "test_pair", out="one")
    run(project, "-k", "1000 or figure", out="two")
    section = merged(project, "one", "two")["speedclaims"]
    assert len([row for row in section["pairs"] if row["nodeid"] == "test_s.py::test_pair[1000]"]) == 1
    (note,) = section["merged"]["notes"]
    assert note.startswith("test_s.py::test_pair[1000] is in ")
    assert note.endswith("two/record.json counts")


def test_records_of_several_machines_are_grouped(project):
    run(project, "--speedup-shard=1/2", out="s1")
    run(project, "--speedup-shard=2/2", out="s2")
    path = project.path / "s2" / "record.json"
    record = json.loads(path.read_text())
    record["speedclaims"]["environment"]["device_name"] = "Another Processor, 64 cores"
    path.write_text(json.dumps(record))
    section = merged(project, "s1", "s2")["speedclaims"]
    machines = [row["machine"] for row in section["pairs"]]
    assert machines == sorted(machines)
    assert len(set(machines)) == 2
    assert section["environment"]["device_name"].endswith(" and Another Processor, 64 cores")
    assert section["merged"]["notes"][-1].startswith("2 machines: ")


def test_records_of_other_commits_and_plans_are_refused(project, capsys):
    run(project, "--speedup-shard=1/2", out="s1")
    run(project, "--speedup-shard=2/3", out="s2")
    files = [str(project.path / name / "record.json") for name in ("s1", "s2")]
    merged_ = ["merge", *files, "-o", str(project.path / "x")]
    assert cli.main(merged_) == 2
    assert "shards of different plans" in capsys.readouterr().err
    path = project.path / "s2" / "record.json"
    record = json.loads(path.read_text())
    record["speedclaims"]["environment"]["commit"]["id"] = "a" * 40
    path.write_text(json.dumps(record))
    assert cli.main(merged_) == 2
    assert "has another commit than" in capsys.readouterr().err
    assert not (project.path / "x").exists()


def test_the_merged_record_replaces_no_input_and_no_foreign_file(project, capsys):
    run(project, "-k", "test_pair", out="one")
    record = project.path / "one" / "record.json"
    before = record.read_bytes()
    assert cli.main(["merge", str(record), "-o", str(record)]) == 2
    assert record.read_bytes() == before
    foreign = project.path / "notes.txt"
    foreign.write_text("mine")
    assert cli.main(["merge", str(record), "-o", str(foreign)]) == 2
    assert foreign.read_text() == "mine"


def test_shards_are_balanced_by_what_a_record_says(project):
    run(project, out="whole")
    record = json.loads((project.path / "whole" / "record.json").read_text())
    durations = record["speedclaims"]["durations"]
    assert durations.keys() == {row for row in durations if "test_other" not in row}
    assert all(seconds > 0 for seconds in durations.values())
    slow = "test_s.py::test_pair[2000]"
    record["speedclaims"]["durations"] = {name: 100.0 if name == slow else 1.0 for name in durations}
    (project.path / "durations.json").write_text(json.dumps(record))
    run(project, "--speedup-shard=1/2", "--speedup-shard-by=durations.json", out="s1")
    tests = project.record("s1")["speedclaims"]["shard"]["tests"]
    assert [name for name, place in tests.items() if place == tests[slow]] == [slow], "it has a shard to itself"


REFUSED = {
    "--speedup-shard=3/2": "3/2 is no shard: give I/N, with I from 1 to N",
    "--speedup-shard=0/2": "0/2 is no shard",
    "--speedup-shard=two": "'two' is no shard: give I/N such as 1/4, auto, or auto/N",
    "--speedup-shard=2": "'2' is no shard",
    "--speedup-shard=auto": "none of SLURM_ARRAY_TASK_ID",
    "--speedup-shard-by=x.json": "--speedup-shard-by is about shards: add --speedup-shard I/N",
    "--speedup-shard=1/2 --speedup-shard-by=x.json": "--speedup-shard-by: x.json",
    "--speedup-shard=1/2 --speedup-against=HEAD": "--speedup-shard is for runs of one revision",
    "--speedup-shard=1/2 --speedup-fail=5 --benchmark-compare=x.json": "--speedup-fail misses the pairs",
}


@pytest.mark.parametrize("options", REFUSED)
def test_what_is_no_shard_is_refused_before_anything_is_measured(project, options, monkeypatch):
    for name in ("SLURM_ARRAY_TASK_ID", "CI_NODE_INDEX", "CIRCLE_NODE_INDEX"):
        monkeypatch.delenv(name, raising=False)
    project.write(test_s_py=SUITE, claims_toml=LEDGER)
    result = project.run(*options.split())
    assert result.ret == 4
    assert REFUSED[options] in result.stderr.str()


@pytest.mark.parametrize(
    ("variables", "count", "expected"),
    [
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "0"}, None, (4, 4)),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "1"}, None, (1, 4)),
        ({"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "3"}, None, (1, 3)),
        ({"CIRCLE_NODE_INDEX": "0", "CIRCLE_NODE_TOTAL": "3"}, None, (1, 3)),
        ({"BUILDKITE_PARALLEL_JOB": "2", "BUILDKITE_PARALLEL_JOB_COUNT": "3"}, None, (3, 3)),
        ({"STRATEGY_JOB_INDEX": "1", "STRATEGY_JOB_TOTAL": "2"}, None, (2, 2)),
        ({"JOB_COMPLETION_INDEX": "4"}, "5", (5, 5)),
    ],
)
def test_schedulers_say_which_shard_this_is(variables, count, expected):
    assert from_environment(variables, count) == Shard(*expected)


def test_a_scheduler_that_does_not_say_how_many_needs_a_number(monkeypatch):
    with pytest.raises(argparse.ArgumentTypeError, match="JOB_COMPLETION_INDEX is set and JOB_COMPLETIONS is not"):
        from_environment({"JOB_COMPLETION_INDEX": "1"})
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert parse("auto/3") == Shard(3, 3)


def test_tests_are_shared_out_evenly_and_each_is_in_one_shard():
    weights = {f"t{number}": 1.0 + number % 7 for number in range(40)}
    places = assign(weights, 3)
    assert places.keys() == weights.keys()
    loads = [sum(weights[name] for name, place in places.items() if place == shard) for shard in (1, 2, 3)]
    assert max(loads) - min(loads) <= 7
    assert assign(dict(reversed(weights.items())), 3) == places, "whatever the order"
