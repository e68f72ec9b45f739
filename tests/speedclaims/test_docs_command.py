"""`speedclaims docs` fills figures in Markdown from the newest record, and finds those that contradict it."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from speedclaims import cli
from speedclaims.docs import FIELDS, Page, _source, agrees, differences, look_up, read_records, write
from speedclaims.report.markdown.places import PlaceError, fill, find_places
from tests.speedclaims.comparing import gone, judged, measured, record, save

FIGURE = {
    "name": "test_growth",
    "nodeid": "bench/test_b.py::test_growth",
    "title": "Growth.",
    "family": None,
    "preset": None,
    "device": "cpu",
    "work": "same",
    "value": -0.35,
    "low": -0.4,
    "high": -0.3,
    "unit": "sd",
    "status": "measured",
    "reason": None,
    "details": [],
}
PAIR = measured("test_epoch[x]") | {"speedup": 3.0157, "low": 2.9512, "high": 3.0796, "before_s": 0.3015}
DAY = "2026-11-21"


def made(*pairs, day=DAY, claims=(), figures=(), **environment):
    """A record of a day."""
    found = record(*pairs, claims=claims, **environment)
    found["datetime"] = f"{day}T09:30:12.000000+00:00"
    found["speedclaims"]["figures"] = list(figures)
    return found


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a record in reports/, of a pair, a figure and a claim."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports" / "recorded").mkdir(parents=True)
    claims = [judged("faster", "exceeded", PAIR), judged("smaller", "not_measured", PAIR, reason="needs cuda")]
    save(tmp_path / "reports" / "recorded" / "a.json", made(PAIR, claims=claims, figures=[FIGURE]))
    return tmp_path


def place_of(name, text=""):
    return f"<!-- speedclaims: {name} -->{text}<!-- end -->"


def page(text, name="a.md"):
    Path(name).write_bytes(text.encode())
    return name


def run(*arguments):
    return cli.main(["docs", *arguments])


def check(name, text, *options):
    return run("--check", page(place_of(name, text)), *options)


# -- what is written -----------------------------------------------------------------------------------------------

WRITTEN = {
    "test_epoch[x].speedup": "3.02x",
    "test_epoch[x].interval": "[2.95, 3.08]",
    "bench/test_a.py::test_epoch[x].estimate": "3.02x [2.95, 3.08]",
    "test_a.py::test_epoch[x].before": "302 ms",
    "test_epoch[x].after": "100 ms",
    "test_epoch[x].date": DAY,
    "test_epoch[x].commit": "0123456",
    "test_epoch[x].machine": "AMD EPYC 7763, 2 cores",
    "test_growth.value": "-0.35 sd",
    "test_growth.estimate": "-0.35 sd [-0.40, -0.30]",
    "test_growth.date": DAY,
    "tabular-regressor.faster.verdict": "exceeded",
    "tabular-regressor.smaller.verdict": "not measured",
    "tabular-regressor.faster.machine": "AMD EPYC 7763, 2 cores",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_each_field_is_written_as_the_report_shows_it_and_then_agrees(name, place, capsys):
    page(f"It is {place_of(name, 'old')} here.\n")
    assert run("--write", "a.md") == 0
    assert capsys.readouterr().out == "a.md\n"
    assert Path("a.md").read_text() == f"It is {place_of(name, WRITTEN[name])} here.\n"
    assert run("--check", "a.md") == 0
    assert capsys.readouterr().out == "1 text of 1 file checked: none contradicts its newest record\n"
    assert run("--write", "a.md") == 0
    assert capsys.readouterr().out == ""


def test_every_field_is_tried():
    assert {name.rpartition(".")[2] for name in WRITTEN} == {name for names in FIELDS.values() for name in names}


def test_only_files_that_change_are_written_and_each_once(place, capsys):
    done, other = page(place_of("test_epoch[x].speedup", "3.02x"), "done.md"), page("words\n", "other.md")
    changed = page(place_of("test_epoch[x].speedup", "2x"), "changed.md")
    before = [Path(name).stat() for name in (done, other)]
    assert run("--write", done, changed, other, f"./{changed}") == 0
    assert capsys.readouterr().out == f"{changed}\n"
    after = [Path(name).stat() for name in (done, other)]
    assert [(one.st_ino, one.st_mtime_ns) for one in after] == [(one.st_ino, one.st_mtime_ns) for one in before]


def test_everything_around_a_place_stays_byte_for_byte(place):
    text = "\ufeff# Ä\r\n\r\n| a | {} |\r\nlast\tline \u2028 {}\rold Mac"
    name = "test_epoch[x].speedup"
    page(text.format(place_of(name, "9x"), place_of(name)))
    assert run("--write", "a.md") == 0
    assert Path("a.md").read_bytes().decode() == text.format(place_of(name, "3.02x"), place_of(name, "3.02x"))


def test_a_machine_s_name_is_no_markup(place):
    save(place / "b.json", made(PAIR, device_name="<!-- end --> *fast* | `x`"))
    page(place_of("test_epoch[x].machine"))
    assert run("--write", "a.md", "--record", "b.json") == 0
    assert Path("a.md").read_text() == place_of(
        "test_epoch[x].machine", r"&lt;!-- end --&gt; \*fast\* &#124; &#96;x&#96;"
    )
    assert run("--check", "a.md", "--record", "b.json") == 0


def test_nothing_is_written_when_one_of_several_files_is_wrong(place, capsys):
    first, second = page(place_of("test_epoch[x].speedup", "2x"), "a.md"), page(place_of("nobody.speedup"), "b.md")
    assert run("--write", first, second) == 2
    assert Path(first).read_text() == place_of("test_epoch[x].speedup", "2x")
    assert capsys.readouterr().out == ""


def test_a_record_is_never_written_over(place, capsys):
    path = save(place / "b.json", made(measured("a") | {"title": place_of("bench/test_a.py::a.speedup", "9x")}))
    before = path.read_bytes()
    assert run("--write", "b.json", "--record", "b.json") == 2
    assert "b.json: it is an input too" in capsys.readouterr().err
    assert path.read_bytes() == before


# -- what contradicts ----------------------------------------------------------------------------------------------

AGREEING = [
    ("test_epoch[x].speedup", "3x"),
    ("test_epoch[x].speedup", "3.08x"),  # as the report shows the end at 3.0796
    ("test_epoch[x].speedup", "about **3.0** times"),
    ("test_epoch[x].interval", "[2.5, 2.96]"),
    ("test_epoch[x].interval", "2.5\u20133"),
    ("test_epoch[x].interval", "3-3.5"),
    ("test_epoch[x].estimate", "2.99x [2.90, 3.01]"),
    ("test_epoch[x].before", " 302\n ms "),
    ("test_growth.value", "-0.31 sd"),
    ("test_growth.value", "\u22120.4 sd"),
    ("test_growth.estimate", "-0.31 sd [-0.4, -0.2]"),
    ("tabular-regressor.faster.verdict", "exceeded"),
]
CONTRADICTING = [
    ("test_epoch[x].speedup", "3.1x", "3.02x [2.95, 3.08]"),
    ("test_epoch[x].speedup", "2.9x", "3.02x [2.95, 3.08]"),
    ("test_epoch[x].speedup", "3e1x", "3.02x [2.95, 3.08]"),
    ("test_epoch[x].speedup", "three times", "3.02x [2.95, 3.08]"),
    ("test_epoch[x].speedup", "3x to 9x", "3.02x [2.95, 3.08]"),
    ("test_epoch[x].speedup", "", "3.02x [2.95, 3.08]"),
    ("test_epoch[x].interval", "[2.5, 2.94]", "[2.95, 3.08]"),
    ("test_epoch[x].interval", "[3.09, 4]", "[2.95, 3.08]"),
    ("test_epoch[x].interval", "[3.08, 2.95]", "[2.95, 3.08]"),
    ("test_epoch[x].estimate", "3.02x", "3.02x [2.95, 3.08]"),
    ("test_epoch[x].estimate", "3.1x [2.95, 3.2]", "3.02x [2.95, 3.08]"),
    ("test_epoch[x].estimate", "3.02x [3.1, 3.2]", "3.02x [2.95, 3.08]"),
    ("test_epoch[x].before", "303 ms", "302 ms"),
    ("test_epoch[x].date", "2026-11-22", DAY),
    ("test_growth.value", "0.35 sd", "-0.35 sd [-0.40, -0.30]"),
    ("test_growth.estimate", "-0.35 sd", "-0.35 sd [-0.40, -0.30]"),
    ("test_growth.estimate", "-0.35 sd [-0.2, -0.1]", "-0.35 sd [-0.40, -0.30]"),
    ("tabular-regressor.faster.verdict", "refuted", "exceeded"),
    ("tabular-regressor.smaller.verdict", "confirmed", "not measured"),
]


@pytest.mark.parametrize(("name", "text"), AGREEING)
def test_a_text_inside_the_interval_agrees(name, text, place):
    assert check(name, text) == 0


@pytest.mark.parametrize(("name", "text", "words"), CONTRADICTING)
def test_a_text_that_contradicts_is_one_line_and_the_code_1(name, text, words, place, capsys):
    page(f"words\r\n\nand {place_of(name, text)}, {place_of('test_epoch[x].speedup', '3x')}")
    assert run("--check", "a.md") == 1
    says = f'says "{text}"' if text else "says nothing"
    assert capsys.readouterr().out == f"a.md:3: {name}: {says}, but reports/recorded/a.json says {words}\n"
    assert Path("a.md").read_bytes().startswith(b"words\r\n\nand")


def test_each_place_that_contradicts_has_its_line(place, capsys):
    first = page(place_of("test_epoch[x].speedup", "9x") + "\n" + place_of("test_epoch[x].speedup", "8x"), "a.md")
    second = page(place_of("test_epoch[x].speedup", "7x"), "b.md")
    assert run("--check", second, first) == 1
    assert re.findall(r"^(.*?): .*says \"(.)x\"", capsys.readouterr().out, re.MULTILINE) == [
        ("b.md:1", "7"),
        ("a.md:1", "9"),
        ("a.md:2", "8"),
    ]


def test_a_figure_without_an_interval_and_one_in_scaled_units_agree_by_their_text(place):
    exact = FIGURE | {"nodeid": "b.py::exact", "value": 3.0, "low": 3.0, "high": 3.0, "unit": "of 4 faults"}
    size = FIGURE | {"nodeid": "b.py::size", "value": 4.2e6, "low": 4e6, "high": 4.4e6, "unit": "bytes"}
    save(place / "b.json", made(PAIR, figures=[exact, size]))
    options = ("--record", "b.json")
    assert [check("exact.value", text, *options) for text in ("3 of 4 faults", "2 of 4 faults")] == [0, 1]
    assert [check("exact.estimate", text, *options) for text in ("3 of 4 faults", "2 of 4 faults")] == [0, 1]
    assert [check("size.value", text, *options) for text in ("4.01 MiB", "4.1 MiB", "4200000")] == [0, 1, 1]


# -- which record --------------------------------------------------------------------------------------------------


def test_the_newest_record_that_measured_it_counts_whatever_its_file_is_called(place, capsys):
    save(place / "reports" / "0.json", made(measured("test_epoch[x]", 5.0), day="2026-11-24"))
    save(place / "reports" / "z.json", made(measured("test_epoch[x]", 4.0), day="2026-11-23"))
    save(place / "reports" / "y.json", made(gone("test_epoch[x]"), day="2026-11-25"))
    few = measured("test_epoch[x]", 7.0, status="too_few_rounds", reason="3 double rounds") | {
        "low": None,
        "high": None,
    }
    save(place / "reports" / "x.json", made(few, day="2026-11-26"))
    assert check("test_epoch[x].speedup", "5x") == 0
    assert check("test_epoch[x].speedup", "3x") == 1
    assert "reports/0.json says 5.00x" in capsys.readouterr().out


def test_records_are_files_and_folders_that_are_named(place):
    (place / "more").mkdir()
    save(place / "more" / "b.json", made(measured("test_epoch[x]", 5.0), day="2026-11-24"))
    save(place / "c.json", made(measured("test_epoch[x]", 7.0), day="2026-11-22"))
    name = "test_epoch[x].speedup"
    assert check(name, "7x", "--record", "c.json") == 0
    assert check(name, "5x", "--record", "c.json", "--record", "more") == 0
    assert check(name, "3x", "--record", "reports") == 0


def test_in_a_folder_json_that_is_no_record_is_passed_over_and_a_damaged_record_is_not(place, capsys):
    (place / "reports" / "theirs.json").write_text('{"benchmarks": []}')
    (place / "reports" / "folder.json").mkdir()
    save(place / "reports" / "record.partial.json", made(measured("test_epoch[x]", 9.0), day="2026-11-28"))
    assert check("test_epoch[x].speedup", "3x") == 0
    (place / "reports" / "half.json").write_text('{"speedclaims": {')
    assert check("test_epoch[x].speedup", "3x") == 2
    assert "reports/half.json: damaged" in capsys.readouterr().err


def test_a_marker_may_name_the_folder_or_the_file_of_its_record(place):
    for folder, speedup in (("cpu", 5.0), ("gpu", 9.0)):
        (place / "reports" / folder).mkdir()
        save(place / "reports" / folder / "run.2.json", made(measured("test_epoch[x]", speedup), day="2026-11-24"))
    name = "test_epoch[x].speedup in "
    assert check(name + "cpu", "5x") == 0
    assert check(name + "reports/gpu/", "9x") == 0
    assert check(name + "gpu/run.2.json", "9x") == 0
    assert check(name + "cpu/run.2", "5x") == 0
    assert check(name + "recorded", "3x") == 0
    assert check(name + "cp", "5x") == 2


def test_a_newer_record_that_withholds_the_pair_contradicts_its_figure(place, capsys):
    withheld = gone("test_epoch[x]", "withheld", "losses differ", equivalence="failed")
    save(place / "reports" / "b.json", made(withheld, day="2026-11-24"))
    assert check("test_epoch[x].speedup", "3.02x") == 1
    assert 'says "3.02x", but reports/b.json says withheld: losses differ' in capsys.readouterr().out
    assert run("--write", "a.md") == 2
    assert "reports/b.json has none (withheld: losses differ)" in capsys.readouterr().err


def test_of_a_claim_with_variants_the_first_counts_and_an_unmeasured_verdict_never_hides_a_measured_one(place):
    rows = [judged("faster", "refuted", PAIR, variant="ours"), judged("faster", "confirmed", PAIR, variant="theirs")]
    save(place / "reports" / "b.json", made(PAIR, claims=rows, day="2026-11-24"))
    unmeasured = judged("faster", "not_measured", PAIR, reason="its test did not run")
    save(place / "reports" / "c.json", made(PAIR, claims=[unmeasured], day="2026-11-25"))
    assert check("tabular-regressor.faster.verdict", "refuted") == 0
    assert check("tabular-regressor.faster.verdict", "confirmed") == 1


def test_a_record_that_is_too_old_fails_and_the_line_says_how_old_it_is(place, capsys):
    now = datetime.now(UTC)
    for days, code in ((9.9, 0), (10.1, 1)):
        found = made(PAIR)
        found["datetime"] = (now - timedelta(days=days)).isoformat()
        save(place / "b.json", found)
        assert check("test_epoch[x].speedup", "3x", "--record", "b.json", "--max-age", "10") == code
    name = "a.md:1: test_epoch[x].speedup"
    assert capsys.readouterr().out.endswith(f"{name}: b.json is 10.1 days old, more than 10: measure again\n")
    assert check("test_epoch[x].speedup", "9x", "--record", "b.json", "--max-age", "10") == 1
    line = capsys.readouterr().out
    assert line.startswith(f'{name}: says "9x", but b.json says 3.02x [2.95, 3.08]; b.json is 10.1 days old')
    assert line.count("\n") == 1
    assert check("test_epoch[x].speedup", "3x", "--record", "b.json") == 0
    save(place / "b.json", made(PAIR) | {"datetime": "yesterday"})
    assert check("test_epoch[x].speedup", "3x", "--record", "b.json", "--max-age", "1e9") == 1
    assert "b.json is of no date that can be read" in capsys.readouterr().out


# -- bad input -----------------------------------------------------------------------------------------------------

BAD = {
    "an unknown pair": (place_of("test_epo[x].speedup"), "has 'test_epo[x]': did you mean 'test_epoch[x]'?"),
    "nothing like it": (place_of("zzz.speedup"), "no record has 'zzz': name a pair, a figure or a claim of a record"),
    "half a name": (place_of("epoch[x].speedup"), "no record has 'epoch[x]'"),
    "an unknown field": (place_of("test_epoch[x].sped"), "'test_epoch[x].sped' ends in no field: write NAME.FIELD"),
    "no field": (place_of("test_epoch[x]"), "ends in no field"),
    "no name": (place_of(""), "'' ends in no field"),
    "another kind": (place_of("test_growth.speedup"), "is a figure, which has no speedup: name one of value, estimate"),
    "half a claim's id": (place_of("faster.verdict"), "no record has 'faster'"),
    "no end": ("<!-- speedclaims: test_epoch[x].speedup -->3x", "has no <!-- end --> in its paragraph"),
    "an end elsewhere": ("<!-- speedclaims: test_epoch[x].speedup -->3x\n\n<!-- end -->", "in its paragraph"),
    "nested": (place_of("test_epoch[x].speedup", place_of("test_epoch[x].speedup")), "holds another one"),
    "not closed": ("<!-- speedclaims: test_epoch[x].speedup >3x<!-- end -->", "the marker is not closed"),
    "never closed": ("<!-- speedclaims: test_epoch[x].speedup", "the marker is not closed"),
    "no colon": ("<!-- speedclaims test_epoch[x].speedup -->3x<!-- end -->", "that is no marker: write <!-- "),
    "another word": ("<!-- speedclaim: test_epoch[x].speedup -->3x<!-- end -->", "that is no marker"),
    "no such folder": (place_of("test_epoch[x].speedup in x"), "none of the records is in a folder or file 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("action", ["--check", "--write"])
@pytest.mark.parametrize("name", BAD)
def test_a_marker_that_cannot_be_used_is_one_line_with_its_place_and_the_code_2(name, action, place, capsys):
    text, line = BAD[name]
    page(f"\n\nwords {text}")
    assert run(action, "a.md") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("speedclaims: a.md:3: ")
    assert said.err.count("\n") == 1
    assert line in said.err


def test_a_wrong_name_hides_no_contradiction(place, capsys):
    page(f"{place_of('test_epoch[x].speedup', '99x')} {place_of('zzz.speedup')}")
    assert run("--check", "a.md") == 2
    said = capsys.readouterr().err
    assert 'says "99x"' in said
    assert "no record has 'zzz'" in said
    assert said.count("\n") == 1


def test_a_name_of_several_pairs_is_refused_and_names_them(place, capsys):
    other = measured("test_epoch[x]") | {"nodeid": "bench/test_z.py::test_epoch[x]"}
    save(place / "reports" / "b.json", made(other, day="2026-11-24"))
    assert check("test_epoch[x].speedup", "3x") == 2
    said = capsys.readouterr().err
    assert "bench/test_a.py::test_epoch[x]" in said
    assert "bench/test_z.py::test_epoch[x]" in said
    assert check("test_a.py::test_epoch[x].speedup", "3x") == 0
    longer = measured("b") | {"nodeid": "more/bench/test_a.py::test_epoch[x]"}
    save(place / "reports" / "c.json", made(longer, day="2026-11-24"))
    assert check("test_a.py::test_epoch[x].speedup", "3x") == 2
    assert check("bench/test_a.py::test_epoch[x].speedup", "3x") == 0  # a whole node id goes before the end of another


def test_what_no_record_measured_is_refused_with_its_reason(place, capsys):
    save(place / "b.json", made(gone("test_epoch[x]", reason="no GPU")))
    assert check("test_epoch[x].speedup", "3x", "--record", "b.json") == 2
    assert (
        "bench/test_a.py::test_epoch[x] was measured in no record (no GPU): measure it first" in capsys.readouterr().err
    )


def test_files_and_records_that_cannot_be_used_are_one_line_and_the_code_2(place, capsys):
    Path("binary.md").write_bytes(b"\xff\xfe")
    Path("empty").mkdir()
    ours = page(place_of("test_epoch[x].speedup", "3x"))
    cases = [
        (["--check", "binary.md"], "binary.md: it is not text"),
        (["--check", "empty"], "empty: Is a directory"),
        (["--check", "missing.md"], "missing.md: No such file"),
        (["--check", "/dev/null"], "/dev/null: it is a device"),
        (["--check", ours, "--record", "missing"], "missing: no such file or folder"),
        (["--check", ours, "--record", "empty"], "empty: no record there"),
        (["--check", ours, "--record", "a.md"], "a.md: damaged or not JSON"),
        (["--write", ours, "--max-age", "3"], "--max-age goes with --check"),
    ]
    for arguments, line in cases:
        assert run(*arguments) == 2
        said = capsys.readouterr()
        assert said.err.startswith(f"speedclaims: {line}")
        assert (said.out, said.err.count("\n")) == ("", 1)
    for arguments in (["a.md"], ["--check", "--write", "a.md"], ["--check"], ["--check", "a.md", "--max-age", "0"]):
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code == 2


@pytest.mark.parametrize("action", ["--check", "--write"])
def test_without_a_marker_there_is_nothing_to_check(action, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(action, page("words <!-- end --> <!-- a comment -->\n"), page("", "b.md")) == 3
    said = capsys.readouterr()
    assert said.err.startswith("speedclaims: a.md, b.md: no <!-- speedclaims: NAME.FIELD --> marker: nothing")
    assert (said.out, said.err.count("\n")) == ("", 1)


# -- code ----------------------------------------------------------------------------------------------------------

MARKED = place_of("a.speedup", "3x")
CODE = [
    f"```\n{MARKED}\n```",
    f"```md\n\n{MARKED}\n``\n~~~\n```` \n",
    f"~~~ `a`\n```\n{MARKED}\n~~~~",
    f"- item\n\n  ```\n  {MARKED}\n  ```",
    f"1. ```\n   {MARKED}",
    f"> ```\n> {MARKED}\n> ```",
    f"```\r\n{MARKED}\r\n```\r\n",
    f"`{MARKED}`",
    f"a `` ` {MARKED} `` b",
    f"`a\n{MARKED} b`",
    f"\\`a` {MARKED}`",
    f"\\{MARKED}",
]
NO_CODE = [
    f"`a` {MARKED} `b`",
    f"` {MARKED} ``",
    f"` a\n\n{MARKED} `",
    f"| ` | b |\n| {MARKED} | ` |",
    f"- `\n- {MARKED} `",
    f"# `\n{MARKED}",
    f"\\` {MARKED} `",
    f"<!-- ` -->{MARKED} `",
    f"``` a ```\n{MARKED}",
    f"> ```\n> code\n\n{MARKED}",
    f"> > ```\n> code {MARKED}",
    f"```\ncode\n```\n{MARKED}",
    f"~~~\n~~~\n{MARKED}\n~~~\n~~~",
    f"\u2028```{MARKED}",
    f"<!-- open {MARKED}",
    MARKED.replace("<!-- ", "<!--\n").replace(" -->", "-->"),
    MARKED.replace("speedclaims: ", "SpeedClaims :").replace("end", "END"),
]


@pytest.mark.parametrize("text", CODE)
def test_a_marker_in_code_is_left_alone(text):
    assert find_places(text, "a.md") == []


@pytest.mark.parametrize("text", NO_CODE)
def test_a_marker_outside_of_code_is_found(text):
    (found,) = find_places(text, "a.md")
    assert (found.name, found.text) == ("a.speedup", "3x")
    assert text[found.start : found.end] == "3x"
    began = re.search(r"<!--\s*speedclaims", text, re.IGNORECASE).start()
    assert found.line == 1 + text.count("\n", 0, began)


def test_a_place_that_would_be_code_once_filled_is_refused():
    text = f"``` {place_of('a.speedup', '`')}"
    with pytest.raises(PlaceError, match=r"a\.md: once filled, a place would be part of a code block"):
        fill(text, find_places(text, "a.md"), ["3x"], "a.md")


# -- whatever the text ---------------------------------------------------------------------------------------------

PIECES = [
    *"`~\n\r\\|>-#* a1.",
    "```",
    "~~~",
    "\n\n",
    "\r\n",
    "<!--",
    "-->",
    "<!-- x -->",
    "<!-- end -->",
    "\ufeff",
    "é\u2028",
]
words = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=6
)
marked = st.builds(
    place_of,
    st.sampled_from(["test_epoch[x].speedup", "test_epoch[x].interval", "test_growth.value", "test_epoch[x].machine"]),
    words | st.just("3x"),
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    save(folder / "a.json", made(PAIR, figures=[FIGURE], device_name="<`a` *b*>"))
    return folder, read_records([folder])


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(st.one_of(words, marked), max_size=8))
@example([f"``` {MARKED.replace('a.', 'test_epoch[x].').replace('3x', '`x')}"])
@example(["` ", place_of("test_epoch[x].speedup", "a\n\nb"), " `"])
def test_what_is_written_agrees_and_the_text_around_the_places_is_as_it_was(sources, parts):
    folder, records = sources
    text = "".join(parts)
    path = folder / "a.md"
    path.write_bytes(text.encode())
    try:
        before = find_places(text, path)
        write([Page(path, text, tuple(before))], records)
    except PlaceError:
        assert path.read_bytes() == text.encode()
        reject()
    done = path.read_bytes().decode()
    after = find_places(done, path)
    assert [place.name for place in after] == [place.name for place in before]
    assert differences([Page(path, done, tuple(after))], records, None, datetime.now(UTC)) == []
    assert outside(done, after) == outside(text, before)


@given(
    st.lists(st.floats(1e-7, 1e7), min_size=3, max_size=3).map(sorted),
    st.tuples(*[st.floats(-1e7, 1e7)] * 3),
    st.sampled_from(["1", "sd", "% of 7 days", "s", "bytes", "FLOP", "of 4 faults"]),
)
@example([3.0, 3.0, 3.0], (1.0, 1.0, 1.0), "of 4 faults")
@example([2.946, 3.0849, 3.0849], (9.0, 1.0, 2.0), "sd")
def test_whatever_was_measured_agrees_with_what_is_written_of_it(ends, value, unit):
    low, speedup, high = ends
    pair = PAIR | {"speedup": speedup, "low": low, "high": high}
    figure = FIGURE | {"value": value[0], "low": min(value[1:]), "high": max(value[1:]), "unit": unit}
    source = _source(Path("a.json"), made(pair, figures=[figure]))
    for name in [*(f"test_epoch[x].{one}" for one in FIELDS["pair"]), "test_growth.value", "test_growth.estimate"]:
        fact = look_up(name, [source], "a.md:1")
        assert agrees(fact.value.text, fact), (fact.value, name)


def outside(text, places):
    """The parts of a text around its places."""
    ends = [0, *(place.end for place in places)]
    return [text[a:b] for a, b in zip(ends, [*(place.start for place in places), len(text)], strict=True)]
