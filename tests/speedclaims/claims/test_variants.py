"""A claim is judged on each variant of a program apart, and the verdict on the first variant counts."""

import re

import pytest

from speedclaims.claims.ledger import LedgerError, load_ledger
from speedclaims.export import export
from speedclaims.gate.compare import Rules, compare
from speedclaims.record import io as record_io
from speedclaims.record.verdicts import counting
from tests.speedclaims.claims.test_ledger import GOOD, usage_line
from tests.speedclaims.comparing import judged, measured, record

VARIANTS = 'variants = ["published", "done right", "main"]\n'

LEDGER = f"""
{VARIANTS}
[[claim]]
id = "loop.faster"
source = "notes.txt"
text = "faster"
kind = "measured"
low = 1.5

[[claim]]
id = "loop.alike"
source = "notes.txt"
text = "as exact"
kind = "measured"
metric = "quality"
high = 1
"""

TEST = """
import pytest

@pytest.mark.speedup_claim("loop.faster", variant="done right")
def test_fixed(figure):
    print("VERDICT", figure(2, exact=True).verdict)

@pytest.mark.speedup_claim("loop.faster", variant="published")
def test_published(pair):
    print("VERDICT", pair(before=lambda: sum(range(500)), after=lambda: sum(range(50_000))).verdict)

@pytest.mark.speedup_claim("loop.alike")
def test_alike(figure):
    figure(0, exact=True)
"""

SWAPPED = TEST.replace('"published"', '"x"').replace('"done right"', '"published"').replace('"x"', '"done right"')


# -- the ledger ----------------------------------------------------------------------------------------------------


def loaded(tmp_path, text):
    path = tmp_path / "claims.toml"
    path.write_text(text)
    return load_ledger(path)


def test_a_ledger_lists_its_variants_in_order_and_needs_none(tmp_path):
    assert loaded(tmp_path, VARIANTS + GOOD).variants == ("published", "done right", "main")
    assert loaded(tmp_path, GOOD).variants == ()


@pytest.mark.parametrize("given", ['"published"', "[]", '["a"]', '["a", "a"]', '["a", "b", "a"]', '["a", ""]'])
@pytest.mark.parametrize("more", ["", ", 3"])
def test_variants_that_are_not_two_different_texts_are_refused_in_one_line(given, more, tmp_path):
    given = f"{given[:-1]}{more}]" if given.endswith('"]') else given
    with pytest.raises(LedgerError) as caught:
        loaded(tmp_path, f"variants = {given}\n{GOOD}")
    line = str(caught.value)
    assert re.fullmatch(r".*claims\.toml: variants: .* is not a list of at least two different texts: write .*", line)


@pytest.mark.parametrize("given", ['["a", "b", 3]', '["a", "b", " "]', '["a", "b", ["c"]]', '{ a = "b" }', "true"])
def test_what_is_no_text_is_no_variant(given, tmp_path):
    with pytest.raises(LedgerError, match="is not a list of at least two different texts"):
        loaded(tmp_path, f"variants = {given}\n{GOOD}")


def test_variants_below_a_claim_are_shown_their_place(tmp_path):
    with pytest.raises(LedgerError, match=r"claim loop\.thrice: .*move it above the first \[\[claim\]\]"):
        loaded(tmp_path, GOOD + VARIANTS)


# -- the marker ----------------------------------------------------------------------------------------------------

BAD = {
    "an unknown variant": (
        TEST.replace('"published"', '"2.1"'),
        LEDGER,
        "test_v.py::test_published: no variant '2.1' for the claim 'loop.faster' in ",
        "its variants are 'published', 'done right', 'main': correct the marker, or add the variant there",
    ),
    "a ledger without variants": (
        TEST,
        LEDGER.replace(VARIANTS, ""),
        "test_v.py::test_fixed: no variant 'done right' for the claim 'loop.faster' in ",
        "it lists none",
    ),
    "another keyword": (
        TEST.replace("variant=", "tier="),
        LEDGER,
        "test_v.py::test_fixed: the speedup_claim marker takes claim ids: ",
        'variant="..."',
    ),
    "a variant that is no text": (
        TEST.replace('"done right"', "3"),
        LEDGER,
        "test_v.py::test_fixed: the speedup_claim marker takes claim ids: ",
        'variant="..."',
    ),
    "a variant of evidence": (
        TEST.replace('speedup_claim("loop.alike")', 'speedup_evidence("loop.alike", variant="main")'),
        LEDGER,
        "test_v.py::test_alike: the speedup_evidence marker takes claim ids: ",
        '("family.claim")',
    ),
    "tests with a variant and without": (
        TEST.replace("loop.alike", "loop.faster"),
        LEDGER,
        "test_v.py::test_alike: the claim 'loop.faster' of ",
        "is judged on a variant by test_v.py::test_fixed and without one by test_v.py::test_alike: "
        "name a variant in all of its markers or in none",
    ),
    "one test with a variant and without": (
        TEST.replace(
            "def test_alike", 'def test_alike(figure): ...\n@pytest.mark.speedup_claim("loop.faster")\ndef test_x'
        ),
        LEDGER,
        "test_v.py::test_x: the claim 'loop.faster' of ",
        "name a variant in all of its markers or in none",
    ),
    "no test of the variant that counts": (
        TEST.replace('"published"', '"main"'),
        LEDGER,
        "claims.toml: no test judges the claim 'loop.faster' on the variant 'published', whose verdict counts: ",
        "mark one with @pytest.mark.speedup_claim('loop.faster', variant='published')",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_marker_is_a_usage_error_in_one_line(project, name):
    test, ledger, *words = BAD[name]
    project.write(test_v_py=test, claims_toml=ledger)
    line = usage_line(project.run())
    assert all(part in line for part in words), line


# -- a run ---------------------------------------------------------------------------------------------------------


def judgements(project):
    """The claims of a record that fits the schema: id, variant, test and verdicts."""
    found = record_io.read(project.path / "out" / "record.json")["speedclaims"]["claims"]
    return [
        (row["id"], row["variant"], (row["pair"] or "").partition("::")[2], row["verdict"], row["overall"])
        for row in found
    ]


def test_each_variant_has_its_verdict_and_only_the_first_counts(project):
    project.write(test_v_py=TEST, claims_toml=LEDGER)
    result = project.run("--speedup-report=out", "--speedup-strict", "-s")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*VERDICT confirmed", "*VERDICT refuted"])
    assert judgements(project) == [
        ("loop.faster", "published", "test_published", "refuted", "refuted"),
        ("loop.faster", "done right", "test_fixed", "confirmed", "confirmed"),
        ("loop.alike", None, "test_alike", "confirmed", "confirmed"),
    ]
    result.stdout.fnmatch_lines(
        [
            "*as published [[]95%[]]*",
            "*done right: 2.00x * confirmed",
            "*1 of 2 claims judged on this machine hold, counted as published: 1 confirmed, 1*",
        ]
    )


def test_a_claim_that_only_another_variant_refutes_is_not_refuted(project):
    project.write(test_v_py=SWAPPED, claims_toml=LEDGER)
    result = project.run("--speedup-report=out", "--speedup-strict")
    assert result.ret == 0
    assert judgements(project)[:2] == [
        ("loop.faster", "published", "test_fixed", "confirmed", "confirmed"),
        ("loop.faster", "done right", "test_published", "refuted", "refuted"),
    ]
    result.stdout.fnmatch_lines(["*2 of 2 claims judged on this machine hold, counted as published: 2 confirmed.*"])


def test_a_variant_that_was_not_run_has_its_row(project):
    project.write(test_v_py=TEST, claims_toml=LEDGER)
    for chosen, words in (("fixed", ("not_measured", "confirmed")), ("published", ("refuted", "not_measured"))):
        project.run("--speedup-report=out", "-k", chosen)
        published, fixed, _ = record_io.read(project.path / "out" / "record.json")["speedclaims"]["claims"]
        assert [(row["variant"], row["overall"]) for row in (published, fixed)] == [
            ("published", words[0]),
            ("done right", words[1]),
        ]
        (missing,) = [row for row in (published, fixed) if row["verdict"] == "not_measured"]
        assert missing["reason"] == "its test did not run"


def test_the_variant_that_counts_has_its_row_also_where_its_test_was_not_collected(project):
    first, second, third = TEST.split("\n@pytest")[1:]
    for name, part in (("a", first), ("b", second + "\n@pytest" + third)):
        (project.path / f"test_{name}.py").write_text(f"import pytest\n\n@pytest{part}")
    project.write(claims_toml=LEDGER)
    result = project.run("--speedup-report=out", "test_a.py")
    assert judgements(project) == [
        ("loop.faster", "published", "", "not_measured", "not_measured"),
        ("loop.faster", "done right", "test_fixed", "confirmed", "confirmed"),
        ("loop.alike", None, "", "not_measured", "not_measured"),
    ]
    result.stdout.fnmatch_lines(["*None of 2 claims could be judged on this machine, counted as published*"])


SEVERAL = """
import pytest

@pytest.mark.speedup_claim("loop.alike")
@pytest.mark.speedup_claim("loop.faster", variant="main")
@pytest.mark.speedup_claim("loop.faster", variant="published")
def test_both(figure):
    figure(1, exact=True)

@pytest.mark.speedup_claim("loop.faster", variant="main")
def test_main(figure):
    figure(2, exact=True)
"""


def test_a_test_may_judge_several_variants_and_a_variant_has_one_verdict_over_its_tests(project):
    ledger = LEDGER.replace("low = 1.5", 'low = 1.5\nover = "any"').replace('metric = "quality"', "")
    project.write(test_v_py=SEVERAL, claims_toml=ledger)
    assert project.run("--speedup-report=out").ret == 0
    assert judgements(project) == [
        ("loop.faster", "published", "test_both", "refuted", "refuted"),
        ("loop.faster", "main", "test_both", "refuted", "confirmed"),
        ("loop.faster", "main", "test_main", "confirmed", "confirmed"),
        ("loop.alike", None, "test_both", "confirmed", "confirmed"),
    ]


def test_the_csv_of_a_record_has_the_pairs_of_all_variants(project):
    fixed = TEST.replace("figure):\n    print", "pair):\n    print").replace(
        "figure(2, exact=True)", "pair(before=lambda: sum(range(50_000)), after=lambda: sum(range(500)))"
    )
    project.write(test_v_py=fixed, claims_toml=LEDGER)
    project.run("--speedup-report=out")
    text = export(record_io.read(project.path / "out" / "record.json"), "csv").text
    assert [line.partition(",")[0] for line in text.splitlines()[1:]] == [
        "test_v.py::test_fixed",
        "test_v.py::test_published",
    ]


# -- what counts, and the gate -------------------------------------------------------------------------------------


def rows(*variants_and_words):
    """Rows of one claim, each judged by a pair of its own."""
    return [
        judged("x", word, measured(f"{number}"), variant=variant)
        for number, (variant, word) in enumerate(variants_and_words)
    ]


def test_the_rows_of_the_first_variant_count_and_those_of_claims_without_any():
    found = rows(("b", "refuted"), ("b", "confirmed"), ("a", "exceeded"))
    plain = {**found[0], "id": "y", "variant": None}
    assert counting([*found, plain]) == [*found[:2], plain]


def between(base, new):
    pairs = [measured(f"{number}") for number in range(3)]
    return compare(record(*pairs, claims=base)["speedclaims"], record(*pairs, claims=new)["speedclaims"], Rules(5))


HELD = rows(("a", "confirmed"), ("b", "confirmed"))
SENTENCE = "claim tabular-regressor.x as {} was confirmed in the base and is refuted now"
LOST = {
    "the variant that counts": (HELD, rows(("a", "refuted"), ("b", "confirmed")), ["a"]),
    "another": (HELD, rows(("a", "confirmed"), ("b", "refuted")), ["b"]),
    "none, in another order": (HELD, HELD[::-1], []),
    "a base without variants": (rows((None, "confirmed")), rows(("a", "refuted"), ("b", "confirmed")), ["a"]),
    "a base without variants, another": (rows((None, "confirmed")), rows(("a", "confirmed"), ("b", "refuted")), []),
    "a new record without variants": (HELD, rows((None, "refuted")), ["a", "b"]),
}


@pytest.mark.parametrize("name", LOST)
def test_a_lost_claim_names_its_variant(name):
    base, new, variants = LOST[name]
    gate = between(base, new)
    assert gate.lost_claims == tuple(SENTENCE.format(variant) for variant in variants)
    assert gate.exit_code == bool(variants)


def test_a_variant_that_nothing_judges_any_more_is_named():
    (warning,) = between(HELD, HELD[:1]).warnings
    assert warning == (
        "claim tabular-regressor.x as b was confirmed in the base and is not measured now: nothing judges it"
    )
