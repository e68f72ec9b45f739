"""The gate's rule and everything that it compares, without measuring."""

import math

import numpy as np
import pytest
from hypothesis import given
from scipy import stats

from speedclaims.gate.compare import Gate, Rules, compare
from speedclaims.gate.slowdown import FAMILY_ERROR, Loss, losses, verdict
from speedclaims.measure.random_effects import (
    PRIOR_DF,
    SESSION_CORRELATION,
    SPEED_SD,
    Process,
    pool,
    pool_change,
    share_seeds,
    t_tail,
)
from speedclaims.measure.statistics import holm_tails
from speedclaims.record.io import RecordError, validate
from speedclaims.record.upgrade import upgrade
from tests.speedclaims.comparing import gone, judged, measured, record, slowed
from tests.strategies import noises, p_values, percents, process_values, slowdowns


def between(base, new, percent=5.0, **reasons):
    return compare(base["speedclaims"], new["speedclaims"], Rules(percent), reasons)


def verdicts(gate):
    return {change.name: change.verdict for change in gate.changes}


def problem(gate, name="a"):
    return next(change.problem for change in gate.changes if change.name == name)


# -- the rule ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "low", "high", "word"),
    [
        (0.05, 0.03, 0.07, "regressed"),
        (0.026, 0.001, 0.06, "regressed"),
        (0.024, 0.001, 0.04, "held"),  # above 0, but below half of what fails
        (0.024, 0.001, 0.06, "ambiguous"),
        (0.05, -0.001, 0.10, "ambiguous"),
        (0.0, -0.02, 0.049, "held"),
        (0.0, -0.02, 0.051, "ambiguous"),
        (-0.05, -0.07, -0.01, "improved"),
    ],
)
def test_the_verdict_follows_from_the_interval_of_the_loss_and_the_threshold(value, low, high, word):
    assert verdict(Loss(value, low, high, 0.99), 5.0) == word


def test_a_loss_is_found_among_pairs_that_held():
    names = ["a", "b", "c"]
    base = record(*(measured(name) for name in names))
    new = record(measured("a", 2.0, seed=1), measured("b", 2.0 / 1.05, seed=1), measured("c", 2.3, seed=1))
    gate = between(base, new)
    assert verdicts(gate) == {"a": "held", "b": "regressed", "c": "improved"}
    loss = gate.changes[1].loss
    assert loss.low < 0.05 < loss.high
    assert (gate.num_alarms, gate.exit_code) == (1, 1)


def test_a_record_has_lost_nothing_against_itself():
    base = record(*(measured(name, speedup) for name, speedup in (("a", 0.5), ("b", 2.0), ("c", 40.0))))
    gate = between(base, base)
    assert set(verdicts(gate).values()) == {"held"}
    assert [change.loss.value for change in gate.changes] == [0, 0, 0]
    assert (gate.num_alarms, gate.exit_code, gate.lost_claims) == (0, 0, ())


@given(noise=noises(), factor=slowdowns(), percent=percents())
def test_a_record_against_itself_never_fails_and_a_slowdown_without_noise_only_adds_to_the_loss(noise, factor, percent):
    base = record(measured("a", noise=noise), measured("b", 1.5, noise=noise))
    assert between(base, base, percent).num_alarms == 0
    losses_ = [between(base, slowed(base, f), percent).changes[0].loss for f in (1.0, factor, factor**2)]
    for end in ("value", "low", "high"):
        ends = [getattr(loss, end) for loss in losses_]
        assert ends == sorted(ends)
    assert losses_[1].value == pytest.approx(factor - 1)


def test_what_was_a_regression_stays_one_when_it_gets_worse():
    base = record(measured("a"))
    words = [verdicts(between(base, slowed(base, 1 + 0.01 * i)))["a"] for i in range(12)]
    first = words.index("regressed")
    assert 0 < first <= 5
    assert set(words[first:]) == {"regressed"}


def test_noise_between_processes_makes_a_loss_ambiguous_that_noise_within_them_would_not():
    steady = [measured("a", rounds=40, processes=1, seed=i)["log_ratios"] for i in range(3)]
    apart = [[value + shift for value in values] for values, shift in zip(steady, (-0.1, 0.0, 0.1), strict=True)]
    base, new = measured("a"), measured("a", 2 / 1.05, seed=9)
    assert verdicts(between(record(base), record(new)))["a"] == "regressed"
    base["log_ratios"] = [value for values in apart for value in values]
    assert verdicts(between(record(base), record(new)))["a"] == "ambiguous"


def test_a_process_that_ran_into_other_load_counts_little():
    base, new = measured("a", processes=5), measured("a", processes=5, seed=1)
    loaded = np.random.default_rng(0).normal(math.log(1.8), 0.5, 40).tolist()
    new["log_ratios"] = new["log_ratios"][:160] + loaded
    gate = between(record(base), record(new))
    assert np.mean(loaded) < math.log(2.0) - 0.1
    assert abs(gate.changes[0].loss.value) < 0.005
    assert verdicts(gate)["a"] == "held"


def test_the_threshold_of_a_pairs_marker_goes_before_the_option():
    base = record(measured("a"), measured("b"))
    new = record(measured("a", 2 / 1.06, seed=1, fail_percent=20.0), measured("b", 2 / 1.06, seed=1))
    assert verdicts(between(base, new)) == {"a": "held", "b": "regressed"}
    assert [change.percent for change in between(base, new).changes] == [20.0, 5.0]


def test_too_few_rounds_are_ambiguous_with_the_reason():
    few = measured("a", processes=1, rounds=3, status="too_few_rounds", reason="too few rounds: 3 double rounds")
    gate = between(record(measured("a")), record(few))
    assert (verdicts(gate)["a"], problem(gate)) == ("ambiguous", "too few rounds: 3 double rounds")
    assert problem(between(record(few), record(measured("a")))) == "base: too few rounds: 3 double rounds"


@pytest.mark.parametrize("numbers", [[], [40]])
def test_a_base_without_values_by_process_is_compared_and_says_what_stands_in(numbers):
    old = measured("a", processes=1)
    old |= {"process_num_values": numbers, "hash_seeds": []}
    gate = between(record(old), record(measured("a", 2 / 1.25, seed=1)))
    assert verdicts(gate)["a"] == "regressed"
    (note,) = gate.notes
    assert note.startswith("1 of 1 pairs of the base record have no values by process: their intervals rest on")


def test_values_that_do_not_add_up_are_refused():
    bad = measured("a")
    bad["process_num_values"] = [40, 40, 41]
    with pytest.raises(RecordError, match="process_num_values add up to 121, log_ratios holds 120: measure again"):
        between(record(bad), record(bad))


def test_the_records_of_these_tests_are_records():
    validate(record(measured("a"), gone("b"), claims=[judged("c", "confirmed", measured("a"))]))


# -- the statistics ------------------------------------------------------------------------------------------------


@given(p_values())
def test_holm_is_between_no_correction_and_bonferroni_and_rejects_what_the_textbook_does(p):
    tails = holm_tails(p, FAMILY_ERROR)
    assert all(FAMILY_ERROR / len(p) <= tail <= FAMILY_ERROR for tail in tails)
    rejected = set()
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        if not p[index] < FAMILY_ERROR / (len(p) - rank):
            break
        rejected.add(index)
    assert {number for number, (one, tail) in enumerate(zip(p, tails, strict=True)) if one < tail} == rejected


def test_after_a_pair_that_is_not_rejected_the_others_are_tested_at_its_error():
    assert holm_tails([0.6 * FAMILY_ERROR, 0.8 * FAMILY_ERROR], FAMILY_ERROR) == [FAMILY_ERROR / 2] * 2
    assert holm_tails([0.8 * FAMILY_ERROR, 0.4 * FAMILY_ERROR], FAMILY_ERROR) == [FAMILY_ERROR, FAMILY_ERROR / 2]


def processes_of(values, error=0.003, seeds=None):
    return [Process(value, error, seed) for value, seed in zip(values, seeds or [None] * len(values), strict=True)]


@given(process_values())
def test_more_pairs_never_make_an_interval_narrower(values):
    pairs = [(processes_of(base), processes_of(new)) for base, new in zip(*values, strict=True)]
    together, alone = losses(pairs), losses(pairs[:1])
    assert together[0].confidence >= alone[0].confidence - 1e-12
    assert alone[0].confidence == pytest.approx(1 - 2 * FAMILY_ERROR)


def test_looking_more_often_makes_the_interval_wider():
    pairs = [(processes_of([0.0, 0.01, 0.02]), processes_of([0.0, 0.01, 0.02]))]
    once, often = losses(pairs), losses(pairs, num_looks=4)
    assert often[0].high > once[0].high
    assert (1 - often[0].confidence) == pytest.approx((1 - once[0].confidence) / 4)


@given(process_values())
def test_exchanging_the_records_turns_the_loss_round(values):
    (base, *_), (new, *_) = values
    there, back = pool_change(processes_of(base), processes_of(new)), pool_change(processes_of(new), processes_of(base))
    assert (there.value, there.error, there.df) == pytest.approx((-back.value, back.error, back.df))


def test_exchanging_the_records_of_a_machine_that_became_slower_turns_the_loss_round():
    base, new = sessions(np.random.default_rng(8), slope=-0.2, slower=1.3)
    there, back = pool_change(base, new), pool_change(new, base)
    assert (there.value, there.error, there.df) == pytest.approx((-back.value, back.error, back.df))


def test_processes_of_one_hash_seed_are_compared_with_each_other():
    of_seeds = {1: 0.10, 2: -0.15, 3: 0.02, 4: 0.2, 5: -0.1}  # what the order of hashes does to this pair
    base = [Process(1 + of_seeds[seed], 0.003, seed) for seed in of_seeds]
    new = [Process(0.92 + of_seeds[seed], 0.003, seed) for seed in of_seeds]
    paired, unpaired = (
        pool_change(base, new),
        pool_change(processes_of([one.value for one in base]), processes_of([one.value for one in new])),
    )
    assert paired.value == pytest.approx(0.08)
    assert unpaired.value == pytest.approx(0.08)
    assert unpaired.error > 10 * paired.error
    assert verdict(losses([(base, new)])[0], 5.0) == "regressed"


def test_seeds_count_only_where_both_records_know_all_of_theirs():
    known, other, unknown = (
        [Process(0.0, 0.01, seed) for seed in seeds] for seeds in ((1, 2, 3), (4, 5, 6), (1, 2, None))
    )
    assert share_seeds(known, known)
    assert not share_seeds(known, other)
    assert not share_seeds(known, unknown)


def test_further_processes_of_the_same_seeds_add_degrees_of_freedom_and_narrow_the_interval():
    rng = np.random.default_rng(4)
    base = [Process(value, 0.003, seed) for seed, value in enumerate(rng.normal(0, 0.02, 5))]
    new = [Process(value, 0.003, seed % 5) for seed, value in enumerate(rng.normal(0, 0.02, 40))]
    first, last = pool_change(base, new[:5]), pool_change(base, new)
    assert (first.df, last.df) == (4 + PRIOR_DF, 39 + PRIOR_DF)
    assert last.half_width(0.99) < 0.6 * first.half_width(0.99)


def test_a_process_that_knows_itself_well_does_not_decide_for_those_that_differ():
    values = [0.10, 0.0, 0.01, -0.01, 0.02]
    base = [Process(value, error) for value, error in zip(values, [0.0001, 0.02, 0.02, 0.02, 0.02], strict=True)]
    new = processes_of([0.0, 0.03, 0.02, 0.01, 0.02], error=0.01)
    found = pool_change(base, new)
    assert found.value == pytest.approx(np.mean(values) - 0.016, abs=0.012)
    assert found.df == 8 + PRIOR_DF


def test_processes_of_one_session_are_never_as_sure_as_ones_that_have_nothing_in_common():
    rng = np.random.default_rng(6)
    sd, errors = 0.02, {}
    for number in (5, 2000):
        base, new = (processes_of(rng.normal(0, sd, number), error=0.004) for _ in range(2))
        errors[number] = pool_change(base, new).error
    least = sd * math.sqrt(2 * SESSION_CORRELATION)
    assert errors[2000] == pytest.approx(least, rel=0.1)
    assert errors[5] > 1.2 * least


@pytest.mark.parametrize("is_seeded", [False, True])
def test_the_interval_of_a_change_covers_the_true_one_as_often_as_it_says(is_seeded):
    rng = np.random.default_rng(11)
    missed, runs, numbers = 0, 600, range(5)
    for _ in range(runs):
        of_seeds = rng.normal(0, 0.05, 5) if is_seeded else np.zeros(5)
        base, new = (
            [Process(of_seeds[i] + rng.normal(0, 0.02), 0.004, i if is_seeded else None) for i in numbers]
            for _ in range(2)
        )
        found = pool_change(base, new)
        missed += abs(found.value) > found.half_width(0.95)
    assert missed <= stats.binom.isf(1e-6, runs, 0.05)


@pytest.mark.parametrize("is_moved", ["base", "new"])
def test_pairs_are_found_though_the_root_is_another_folder(is_moved):
    """As when pytest is given an option whose folder exists only from the second run on."""
    base, new = (
        record(measured("a"), measured("b"), root="above" if is_moved == name else "proj") for name in ("base", "new")
    )
    for row in (base if is_moved == "base" else new)["speedclaims"]["pairs"]:
        row["nodeid"] = f"proj/{row['nodeid']}"
    gate = between(base, new)
    assert [change.verdict for change in gate.changes] == ["held", "held"]
    assert any("names are compared without proj/" in note for note in gate.notes)
    new["speedclaims"]["pairs"][0]["nodeid"] = "other/test_z.py::a"
    assert {change.verdict for change in between(base, new).changes} >= {"held", "missing", "new"}


def test_a_test_of_the_same_name_below_another_root_is_another_test():
    base, new = record(measured("a"), measured("b"), root="above"), record(measured("a"), root="b")
    for row, folder in zip(base["speedclaims"]["pairs"], ("a", "b"), strict=True):
        row["nodeid"] = f"{folder}/{new['speedclaims']['pairs'][0]['nodeid']}"
    assert {change.nodeid: change.verdict for change in between(base, new).changes} == {
        base["speedclaims"]["pairs"][0]["nodeid"]: "missing",
        new["speedclaims"]["pairs"][0]["nodeid"]: "held",
    }
    new["speedclaims"]["environment"]["root"] = "c"
    assert sorted(change.verdict for change in between(base, new).changes) == ["missing", "missing", "new"]
    del new["speedclaims"]["environment"]["root"]
    assert sorted(change.verdict for change in between(base, new).changes) == ["missing", "missing", "new"]


def test_of_two_folders_of_the_root_s_name_neither_is_taken():
    base, new = record(measured("a"), measured("b"), root="above"), record(measured("a"), root="unit")
    for row, folder in zip(base["speedclaims"]["pairs"], ("x/unit", "y/unit"), strict=True):
        row["nodeid"] = f"{folder}/{new['speedclaims']['pairs'][0]['nodeid']}"
    assert sorted(change.verdict for change in between(base, new).changes) == ["missing", "missing", "new"]


def test_a_file_of_the_same_name_in_another_folder_is_another_test():
    base, new = record(measured("a"), root="proj"), record(measured("a"), measured("b"), root="above")
    new["speedclaims"]["pairs"][1]["nodeid"] = f"proj/{base['speedclaims']['pairs'][0]['nodeid']}"
    assert sorted(change.verdict for change in between(base, new).changes) == ["held", "new"]


def sessions(rng, *, slope, slower, is_known=True, num=5):
    """Two records of one pair whose speedup depends on how fast the machine is, which differs between them."""
    records = []
    for speed in (0.0, math.log(slower)):
        speeds = speed + rng.normal(0, 0.1, num)
        values = 0.7 + slope * speeds + rng.normal(0, 0.0075, num)
        records.append(
            [
                Process(value, 0.003, seed, math.exp(one) if is_known else None)
                for seed, (value, one) in enumerate(zip(values, speeds, strict=True))
            ]
        )
    return records


def test_what_a_slower_machine_does_to_a_speedup_is_no_loss():
    rng = np.random.default_rng(7)
    known, unknown = (
        [pool_change(*sessions(rng, slope=-0.2, slower=1.4, is_known=is_known, num=20)).value for _ in range(50)]
        for is_known in (True, False)
    )
    assert abs(np.mean(unknown)) == pytest.approx(0.2 * math.log(1.4), rel=0.2)
    assert abs(np.mean(known)) < 0.02


@pytest.mark.parametrize("slower", [1.0, 1.1, 1.4])
def test_the_interval_covers_no_change_though_the_machine_became_slower(slower):
    rng = np.random.default_rng(12)
    runs = 600
    missed = 0
    for _ in range(runs):
        found = pool_change(*sessions(rng, slope=rng.normal(0, SPEED_SD), slower=slower))
        missed += abs(found.value) > found.half_width(0.95)
    assert missed <= stats.binom.isf(1e-6, runs, 0.05)


def test_a_machine_of_one_speed_changes_nothing_and_one_of_many_costs_a_degree_of_freedom():
    base, new = sessions(np.random.default_rng(3), slope=0.0, slower=1.0)
    plain = pool_change(*([one._replace(before_s=None) for one in record] for record in (base, new)))
    equal = pool_change(*([one._replace(before_s=0.25) for one in record] for record in (base, new)))
    assert equal == plain
    assert pool_change(base, new).df == plain.df - 1
    partly = pool_change([base[0]._replace(before_s=None), *base[1:]], new)
    assert partly == plain, "one process of unknown speed"


def test_the_whole_interval_lies_above_zero_exactly_where_holm_rejects():
    rng = np.random.default_rng(5)
    num_rejected = 0
    for _ in range(300):
        pairs = [
            (processes_of(rng.normal(0, 0.01, 3)), processes_of(rng.normal(-0.06 if number == 0 else 0, 0.01, 3)))
            for number in range(4)
        ]
        found = losses(pairs)
        num_rejected += found[0].low > 0
        rejected = [1 - one.confidence for one in found if one.low > 0]
        kept = [1 - one.confidence for one in found if one.low <= 0]
        # where a pair is rejected, so are all that are tested at a smaller error
        assert not rejected or not kept or max(rejected) <= min(kept) + 1e-15
    assert 0.2 < num_rejected / 300 < 1


def test_equal_errors_and_a_spread_as_expected_give_the_variance_of_a_mean():
    found = pool(processes_of([0.19, 0.2, 0.21]), between_sd=0.02)
    assert found.value == pytest.approx(0.2)
    variance = 0.003**2 + 0.02**2
    squares = 2 * 0.01**2 / variance
    assert found.df == PRIOR_DF + 2
    assert found.error**2 == pytest.approx((PRIOR_DF + squares) / (PRIOR_DF + 2) * variance / 3)


@pytest.mark.parametrize(("df", "t"), [(1, 0.5), (2, 3.1), (5, -2.0), (8, 4.6), (39, 2.2)])
def test_the_tail_of_students_distribution_is_scipys(df, t):
    assert t_tail(df, t) == pytest.approx(stats.t.sf(t, df), rel=1e-9)


def test_an_estimate_below_half_of_the_threshold_is_no_regression_however_sure():
    (found,) = losses([([Process(0.0, 1e-4)] * 300, [Process(-0.02, 1e-4)] * 300)])
    assert found.low > 0
    assert verdict(found, 5.0) == "held"
    assert verdict(found, 4.0) == "regressed"


# -- what cannot be compared ---------------------------------------------------------------------------------------


def test_a_missing_pair_fails_with_the_reason_if_there_is_one():
    base = record(measured("a"), measured("b"))
    gate = between(base, record(measured("b", seed=1, after="other")), **{"bench/test_a.py::a": "deselected"})
    assert verdicts(gate) == {"a": "missing", "b": "reconfigured"}
    assert problem(gate) == "in the base, not in this run: deselected"


def test_a_renamed_pair_fails_and_names_what_it_may_be_now():
    gate = between(record(measured("a")), record(measured("a_new", seed=1)))
    assert verdicts(gate) == {"a": "renamed", "a_new": "new"}
    assert problem(gate) == "in the base, not in this run; it may be bench/test_a.py::a_new now"
    assert gate.num_alarms == 1


def test_a_pair_of_other_sides_is_not_taken_for_a_renamed_one():
    gate = between(record(measured("a")), record(measured("b", after="fastest")))
    assert verdicts(gate) == {"a": "missing", "b": "new"}


def test_a_pair_that_is_not_measured_any_more_fails():
    gate = between(record(measured("a")), record(gone("a")))
    assert (verdicts(gate)["a"], problem(gate)) == ("not_measured", "benchmarks are disabled")
    assert gate.num_alarms == 1


def test_a_withheld_speedup_fails_also_where_the_base_has_none_or_lacks_the_pair():
    withheld = gone("a", "withheld", "the equivalence check failed: losses differ", equivalence="failed")
    for base in (record(measured("a")), record(gone("a")), record()):
        gate = between(base, record(withheld))
        assert verdicts(gate)["a"] == "withheld"
        assert (gate.num_alarms, gate.exit_code) == (1, 1)


CONFIGURED = {
    "before": ("other", "before side reference → other"),
    "after": ("fastest", "after side optimized → fastest"),
    "work": ("less", "work same → less"),
    "family": (None, "family tabular_regressor → none"),
    "preset": ("default", "preset smoke → default"),
    "device": ("cuda", "device cpu → cuda"),
    "units": (48, "units 24 → 48"),
    "calls_before": (2.5, "calls before 1 → 2.5"),
    "calls_after": (7, "calls after 1 → 7"),
    "confidence": (0.99, "confidence 0.95 → 0.99"),
    "equivalence": ("not_checked", "equivalence passed → not checked"),
}


@pytest.mark.parametrize("field", CONFIGURED)
def test_a_pair_that_is_configured_differently_fails_and_says_in_what(field):
    value, words = CONFIGURED[field]
    gate = between(record(measured("a")), record(measured("a", seed=1, **{field: value})))
    assert (verdicts(gate)["a"], problem(gate)) == ("reconfigured", words)
    assert gate.num_alarms == 1


def test_a_check_that_was_added_is_fine():
    gate = between(record(measured("a", equivalence="not_checked")), record(measured("a", seed=1)))
    assert verdicts(gate)["a"] == "held"


def test_records_of_version_1_without_calls_are_compared_as_one_to_one():
    old = record(measured("a"))
    (pair,) = old["speedclaims"]["pairs"]
    del pair["calls_before"], pair["calls_after"]
    old["speedclaims"]["schema_version"] = 1
    upgrade(old["speedclaims"])
    assert verdicts(between(old, record(measured("a", seed=1))))["a"] == "held"


def test_pairs_that_only_the_new_record_has_or_measured_do_not_fail():
    gate = between(record(gone("a", reason="no GPU"), gone("c")), record(measured("a"), measured("b")))
    assert verdicts(gate) == {"a": "no_base", "b": "new"}
    assert problem(gate) == "the base has no speedup: no GPU"
    assert gate.num_alarms == 0


def test_control_pairs_are_not_gated():
    base = record(measured("a"), measured("control", 1.0, control=True))
    gate = between(base, record(measured("a", seed=1), measured("control", 0.5, control=True)))
    assert verdicts(gate) == {"a": "held"}


H200, A100 = [{"name": "NVIDIA H200"}], [{"name": "NVIDIA A100"}]


def test_a_pair_on_another_gpu_is_not_mixed_with_the_base():
    base = record(measured("a", device="cuda"), measured("b"), gpus=H200)
    gate = between(base, record(measured("a", device="cuda", seed=1), measured("b", seed=1), gpus=A100))
    assert verdicts(gate) == {"a": "reconfigured", "b": "held"}
    assert problem(gate) == "GPU NVIDIA H200 → NVIDIA A100"


def test_another_machine_is_told_with_both_names_and_ratios_are_compared():
    other = {"device_name": "Xeon, 8 cores", "cpu": {"model": "Xeon", "num_cores": 8}}
    gate = between(record(measured("a")), record(measured("a", seed=1), **other))
    assert verdicts(gate)["a"] == "held"
    (warning,) = gate.warnings
    assert warning.startswith("another machine: the base was measured on AMD EPYC 7763, 2 cores, this on Xeon, 8 cores")
    assert warning.endswith("ratios are compared, absolute times are not")


def test_other_versions_and_threads_are_told():
    base, new = record(measured("a")), record(measured("a", seed=1))
    new["speedclaims"]["environment"]["libraries"] = {
        **base["speedclaims"]["environment"]["libraries"],
        "torch": "9.0",
    }
    new["speedclaims"]["environment"]["threads"] = {"OMP_NUM_THREADS": "7"}
    threads, versions = between(base, new).warnings
    assert "OMP_NUM_THREADS" in threads
    assert threads.startswith("other thread settings")
    assert "torch" in versions
    assert versions.endswith("→ 9.0")


def test_changed_versions_are_named_shortly_and_only_where_both_records_hold_them():
    base, new = record(measured("a")), record(measured("a", seed=1))
    names = [f"lib{number}" for number in range(9)]
    libraries = {**base["speedclaims"]["environment"]["libraries"], **dict.fromkeys(names, "1.0"), "pillow": None}
    base["speedclaims"]["environment"]["libraries"] = {**libraries, "only-in-base": "1"}
    later = {**libraries, **dict.fromkeys(names[:7], "2.0"), "pillow": "12.0", "only-now": "1"}
    new["speedclaims"]["environment"]["libraries"] = later
    (versions,) = between(base, new).warnings
    assert versions == (
        "other versions than in the base: " + ", ".join(f"{name} 1.0 → 2.0" for name in names[:5]) + " and 3 more"
    )


def test_a_base_from_a_dirty_tree_is_told():
    gate = between(record(measured("a"), dirty=True), record(measured("a", seed=1)))
    assert gate.warnings == (
        "the base was measured on a tree with changes that are not in 0123456: nobody can measure it again",
    )
    assert gate.exit_code == 0


# -- claims --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("was", ["confirmed", "exceeded"])
def test_a_lost_claim_fails(was):
    a, b = measured("a"), measured("a", seed=1)
    gate = between(record(a, claims=[judged("x", was, a)]), record(b, claims=[judged("x", "refuted", b)]))
    assert gate.lost_claims == (f"claim tabular-regressor.x was {was} in the base and is refuted now",)
    assert (gate.num_alarms, gate.exit_code) == (1, 1)


@pytest.mark.parametrize("was", ["refuted", "ambiguous", "not_measured"])
def test_a_claim_that_did_not_hold_is_not_lost(was):
    a, b = measured("a"), measured("a", seed=1)
    gate = between(record(a, claims=[judged("x", was, a)]), record(b, claims=[judged("x", "refuted", b)]))
    assert gate.num_alarms == 0


CLAIMS = {
    "too modest": ({"verdict": "exceeded"}, "has become too modest"),
    "undecided": ({"verdict": "ambiguous", "reason": "the interval straddles 1.5"}, "is ambiguous now: the interval"),
    "not judged": ({"verdict": "not_measured", "reason": "needs cuda"}, "is not measured now: needs cuda"),
    "changed": ({"low": 1.1}, "says something else than in the base"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_what_became_of_a_claim_is_told(name):
    change, words = CLAIMS[name]
    a, b = measured("a"), measured("a", seed=1)
    new = record(b, claims=[judged("x", **{"verdict": "confirmed", "of": b, **change})])
    gate = between(record(a, claims=[judged("x", "confirmed", a)]), new)
    (warning,) = gate.warnings
    assert words in warning
    assert gate.num_alarms == 0


def test_a_claim_that_nothing_judges_any_more_is_told():
    a = measured("a")
    gate = between(record(a, claims=[judged("x", "confirmed", a)]), record(measured("a", seed=1)))
    assert gate.warnings == (
        "claim tabular-regressor.x was confirmed in the base and is not measured now: nothing judges it",
    )


def test_a_claim_that_was_exceeded_already_is_not_told_again():
    a, b = measured("a"), measured("a", seed=1)
    gate = between(record(a, claims=[judged("x", "exceeded", a)]), record(b, claims=[judged("x", "exceeded", b)]))
    assert gate.warnings == ()


# -- the rules that the options set --------------------------------------------------------------------------------


def test_an_ambiguous_pair_fails_where_that_is_asked_for():
    few = measured("a", processes=1, rounds=3, status="too_few_rounds", reason="too few rounds: 3 double rounds")
    sections = [record(row)["speedclaims"] for row in (measured("a"), few)]
    assert compare(*sections, Rules(5.0)).exit_code == 0
    gate = compare(*sections, Rules(5.0, fails_ambiguous=True))
    assert (gate.num_alarms, gate.exit_code) == (1, 1)


def test_of_a_subset_only_what_was_run_is_compared():
    claims = [judged("c", "confirmed", measured("b")), judged("d", "confirmed", measured("a"))]
    base = record(measured("a"), measured("b"), measured("c"), claims=claims)
    new = record(measured("a", 2 / 1.2, seed=1), claims=[judged("d", "refuted", measured("a"))])
    reasons = {"bench/test_a.py::b": "deselected", "bench/test_a.py::c": "the test failed before it was measured"}
    gate = compare(base["speedclaims"], new["speedclaims"], Rules(5.0, compares_subset=True), reasons)
    assert verdicts(gate) == {"a": "regressed", "c": "missing"}
    assert gate.notes[0] == "1 pairs of the base were not run and are left out"
    assert len(gate.lost_claims) == 1
    assert gate.warnings == ()


def test_a_record_gives_back_the_gate_that_it_holds():
    gate = between(record(measured("a"), gone("b")), record(measured("a", 2 / 1.2, seed=1), measured("c")))
    made = record(measured("a"))
    made["speedclaims"]["gate"] = gate.recorded()
    validate(made)
    assert Gate.of(made["speedclaims"]["gate"]) == gate
