"""Make a record as a session writes it: the claims of source document 004 and pairs in every state."""

import copy
import math
import random
from typing import Any

from speedclaims.record.verdicts import better_side

SOURCE = "004_7171354e19579539.txt"
NODE = "bench/test_tabular_regressor.py::"
NO_GPU = "no GPU on this machine"
Row = dict[str, Any]


def figure(value: float | None, unit: str, reason: str | None = None) -> Row:
    """Return one figure, not measured when the value is None."""
    return {
        "value": value,
        "unit": unit,
        "status": "not_measured" if value is None else "measured",
        "reason": reason if value is None else None,
    }


def sides(before: float | None, after: float | None, unit: str, reason: str | None = None) -> Row:
    """Return a figure for both sides and their ratio."""
    ratio = before / after if before is not None and after else None
    return {
        "before": figure(before, unit, reason),
        "after": figure(after, unit, reason),
        "ratio": figure(ratio, "1", reason),
    }


def profiled(busy: float | None, **seconds: float) -> Row:
    """Return where one side's time goes, by the phases' names with underscores."""
    return {
        "busy": figure(busy, "percent", "the busy fraction is of a GPU: this ran on the CPU"),
        "wall_s": figure(sum(seconds.values()), "s"),
        "phases": [{"name": name.replace("_", " "), "seconds": value} for name, value in seconds.items()],
    }


def log_ratios(speedup: float, num: int, *, spread: float = 0.01, drift: float = 0.0, seed: int = 7) -> list[float]:
    """Return so many log-ratios scattered around a speedup, from a fixed seed."""
    draw = random.Random(seed)  # noqa: S311 - figures for a drawing, not a secret
    return [math.log(speedup) + draw.gauss(0, spread) + drift * (i / max(1, num - 1) - 0.5) for i in range(num)]


def pair(name: str, title: str, **changes: Any) -> Row:
    """Return a measured pair on a CPU, with fields changed as asked."""
    row: Row = {
        "name": name,
        "nodeid": NODE + name,
        "title": title,
        "family": "tabular_regressor",
        "before": "reference",
        "after": "optimized",
        "work": "same",
        "preset": "smoke",
        "device": "cpu",
        "control": False,
        "units": 24,
        "calls_before": 1,
        "calls_after": 1,
        "num_rounds": 48,
        "num_processes": 1,
        "process_num_values": [],
        "hash_seeds": [],
        "interrupted_percent": 0.0,
        "waiting_percent": 0.4,
        "stolen_percent": 0.0,
        "throttled_percent": 0.0,
        "carry_over": {"value": 0.1, "unit": "percent", "status": "measured", "reason": None, "low": -0.5, "high": 0.7},
        "fail_percent": None,
        "repeats_before": 1,
        "repeats_after": 1,
        "before_s": None,
        "after_s": None,
        "speedup": None,
        "low": None,
        "high": None,
        "confidence": 0.95,
        "reached_precision": True,
        "correlation_factor": 1.0,
        "log_ratios": [],
        "equivalence": "passed",
        "equivalence_details": [],
        "cold_before_s": figure(None, "s", "pass not asked for"),
        "cold_after_s": figure(None, "s", "pass not asked for"),
        "memory": sides(None, None, "bytes", "pass not asked for"),
        "syncs": sides(None, None, "1", NO_GPU),
        "gpu": {},
        "stages": {},
        "recorders": {},
        "status": "measured",
        "reason": None,
    }
    row |= changes
    if row["speedup"] is not None and not row["log_ratios"]:
        row["log_ratios"] = log_ratios(row["speedup"], row["num_rounds"] // 2, seed=len(name))
    return row


def unmeasured(name: str, title: str, status: str, reason: str, **changes: Any) -> Row:
    """Return a pair without a speedup."""
    empty = {"num_rounds": 0, "reached_precision": None, "correlation_factor": None, "equivalence": "not_checked"}
    return pair(name, title, **(empty | {"status": status, "reason": reason} | changes))


def claim(name: str, text: str, verdict: str, **changes: Any) -> Row:
    """Return a claim of document 004 about a speedup of the same work, with fields changed as asked."""
    row: Row = {
        "id": f"tabular-regressor.{name}",
        "variant": None,
        "source": SOURCE,
        "text": text,
        "kind": "measured",
        "metric": "speedup",
        "unit": "1",
        "work": "same",
        "low": None,
        "high": None,
        "requires": {},
        "measured": None,
        "measured_low": None,
        "measured_high": None,
        "verdict": verdict,
        "overall": verdict,
        "reason": None,
        "pair": None,
        "device": None,
        "equivalence": None,
    }
    row |= changes
    side = better_side(row["low"], row["high"], row["metric"])
    return {"better": side, "over": "all", **row}


def judged(name: str, text: str, verdict: str, of: Row, **changes: Any) -> Row:
    """Return a claim with the figures of the pair that measured it."""
    measured = {
        "measured": of["speedup"],
        "measured_low": of["low"],
        "measured_high": of["high"],
        "pair": of["nodeid"],
        "device": of["device"],
        "equivalence": of["equivalence"],
        "work": of["work"],
    }
    return claim(name, text, verdict, **(measured | changes))


def _pairs() -> dict[str, Row]:
    cold = {"cold_before_s": figure(1.92, "s"), "cold_after_s": figure(4.37, "s")}
    rows = [
        pair(
            "test_persistent_workers",
            "Workers kept between epochs against workers started anew for each.",
            before_s=0.2413,
            after_s=0.1699,
            speedup=1.42,
            low=1.38,
            high=1.46,
            **cold,
        ),
        pair(
            "test_loader_workers",
            "Four loader workers against none.",
            before_s=0.1846,
            after_s=0.1520,
            speedup=1.213,
            low=1.184,
            high=1.247,
            num_rounds=36,
            reached_precision=False,
            memory=sides(418_000_000, 871_000_000, "bytes"),
            profile={
                "before": profiled(None, data_wait=0.11, forward=0.03, backward=0.04, optimizer=0.01, other=0.012),
                "after": profiled(None, data_wait=0.05, compiled_step=0.09, host_synchronization=0.0004),
            },
            flops={
                "before": figure(1.84e8, "FLOP"),
                "after": figure(1.84e8, "FLOP"),
                "share": {"before": figure(1.7, "percent"), "after": figure(2.07, "percent")},
            },
        ),
        pair(
            "test_mixed_precision",
            "Automatic mixed precision against float32.",
            before_s=0.1510,
            after_s=0.1589,
            speedup=0.951,
            low=0.934,
            high=0.968,
            equivalence="different_by_design",
            equivalence_details=["bfloat16 instead of float32", "a loss scale is part of the state"],
        ),
        pair(
            "test_optimized_trainer",
            "The trainer as the document describes it against the one it replaces.",
            before_s=0.1528,
            after_s=0.1562,
            speedup=0.9786,
            low=0.9721,
            high=0.9848,
            log_ratios=log_ratios(0.9786, 40, drift=0.03),
            num_rounds=80,
            num_processes=3,
            **cold,
        ),
        pair(
            "test_batch_size[256-512]",
            "An epoch with batches of 512 against batches of 256.",
            before_s=0.862,
            after_s=0.3301,
            speedup=2.611,
            low=2.55,
            high=2.67,
            work="different",
            equivalence="not_checked",
        ),
        pair(
            "test_fewer_epochs",
            "100 epochs against 250 epochs.",
            before_s=3.81,
            after_s=1.522,
            speedup=2.503,
            low=2.497,
            high=2.509,
            before="250 epochs",
            after="100 epochs",
            work="less",
            equivalence="not_checked",
        ),
        unmeasured(
            "test_fused_optimizer",
            "Fused Adam against Adam, one kernel a step.",
            "withheld",
            "losses differ by 3.1e-2 at step 4, allowed 1e-5",
            equivalence="failed",
            equivalence_details=["loss of step 4: 0.4129 before, 0.4438 after"],
        ),
        pair(
            "test_compiled_step",
            "A compiled step against an eager one.",
            before_s=0.1533,
            after_s=0.1190,
            speedup=1.29,
            num_rounds=6,
            reached_precision=False,
            correlation_factor=None,
            status="too_few_rounds",
            reason="3 double rounds, 6 needed for 95%",
        ),
        unmeasured("test_cuda_graph", "A captured graph against single launches.", "not_measured", NO_GPU),
        pair(
            "test_control",
            "Two separately built instances of the reference.",
            before_s=0.1527,
            after_s=0.1525,
            speedup=1.0011,
            low=0.9972,
            high=1.0049,
            after="reference, built again",
            control=True,
            num_processes=3,
        ),
    ]
    return {row["name"]: row for row in rows}


def _claims(pairs: dict[str, Row]) -> list[Row]:
    return [
        judged(
            "amp-speed",
            "30-50% faster training on modern GPUs",
            "not_measured",
            pairs["test_mixed_precision"],
            low=1.3,
            high=1.5,
            requires={"device": "cuda"},
            reason="needs cuda",
        ),
        claim(
            "amp-memory",
            "Reduced memory usage by ~50%",
            "not_measured",
            metric="memory_ratio",
            low=1.67,
            high=2.5,
            requires={"device": "cuda"},
            reason="its test was not selected",
        ),
        judged(
            "loader-workers",
            "Data Loading | 20-40% faster with num_workers",
            "ambiguous",
            pairs["test_loader_workers"],
            low=1.2,
            high=1.4,
            reason="the interval straddles 1.2",
        ),
        judged(
            "persistent-workers",
            "`persistent_workers=True` for faster data loading",
            "confirmed",
            pairs["test_persistent_workers"],
            low=1.0,
        ),
        judged(
            "overall",
            "significant performance improvements",
            "refuted",
            pairs["test_optimized_trainer"],
            low=1.05,
        ),
        judged(
            "batch-size",
            "batch 256 -> 512: about 2x per epoch",
            "exceeded",
            pairs["test_batch_size[256-512]"],
            low=1.5,
            high=2.5,
        ),
        claim(
            "no-leak",
            "Prevents memory leaks",
            "confirmed",
            metric="memory_ratio",
            low=0.99,
            high=1.01,
            measured=1.0,
            measured_low=1.0,
            measured_high=1.0,
            pair=pairs["test_optimized_trainer"]["nodeid"],
            device="cpu",
            equivalence="passed",
        ),
        claim(
            "compatible", "100% backward compatible with existing code", "inconsistent", kind="arithmetic", metric=None
        ),
        claim("epochs", "250 -> 100 epochs: 60% less time", "consistent", kind="arithmetic", metric=None, work="less"),
    ]


def _audit() -> list[Row]:
    return [
        {
            "id": "tabular-regressor.compatible",
            "source": SOURCE,
            "text": "100% backward compatible with existing code",
            "claimed": "no default changes",
            "recomputed": "2 defaults change",
            "formula": "mixed precision off -> on, num_workers 0 -> 4",
            "verdict": "inconsistent",
        },
        {
            "id": "tabular-regressor.epochs",
            "source": SOURCE,
            "text": "250 -> 100 epochs: 60% less time",
            "claimed": "60%",
            "recomputed": "60%",
            "formula": "1 - 100 / 250",
            "verdict": "consistent",
        },
    ]


def _environment() -> Row:
    return {
        "device": "cpu",
        "device_name": "AMD EPYC 7763, 2 cores",
        "os": "Linux 6.8 x86_64",
        "python": "3.11.9",
        "cpu": {"model": "AMD EPYC 7763", "num_cores": 2, "governor": None, "load_1min": 0.12},
        "memory_bytes": 8_241_000_000,
        "libraries": {"torch": "2.9.1+cpu", "tensorflow": None, "numpy": "2.4.6"},
        "threads": {"torch_threads": 2, "OMP_NUM_THREADS": None},
        "settings": {"tf32": False, "onednn": True},
        "gpus": [],
        "commit": {"id": "abc1234def5678abc1234def5678abc1234def56", "dirty": True},
        "command": "pytest bench/ --preset smoke --speedup-report reports/latest",
        "options": {"precision": 0.01, "confidence": 0.95, "max_time_s": 20.0, "processes": 3, "passes": "time"},
    }


def sample_record() -> Row:
    """Return a full record, made anew at each call, valid against the schema."""
    pairs = _pairs()
    return {
        "machine_info": {"node": "bench"},
        "commit_info": {"id": "abc1234", "dirty": True},
        "benchmarks": [],
        "datetime": "2026-11-21T09:30:12.000000+00:00",
        "version": "5.3.1",
        "speedclaims": {
            "schema_version": 2,
            "environment": _environment(),
            "noise_floor": {
                "value": 0.006,
                "unit": "1",
                "status": "measured",
                "reason": None,
                "num_processes": 3,
                "pairs": [NODE + "test_control"],
            },
            "ceilings": [
                {
                    "framework": "torch",
                    "device": "cpu",
                    "matmul": {
                        "float32": figure(5.86e10, "FLOP/s"),
                        "bfloat16": figure(None, "FLOP/s", "no such unit"),
                    },
                    "copy": figure(2.81e10, "B/s"),
                }
            ],
            "pairs": list(pairs.values()),
            "figures": _recorded_figures(),
            "not_run": [],
            "claims": _claims(pairs),
            "audit": _audit(),
        },
    }


def _recorded_figures() -> list[Row]:
    common = {"family": "tabular_regressor", "preset": "smoke", "device": "cpu", "work": "same"}
    return [
        {
            **common,
            "name": "test_memory_over_epochs[optimized]",
            "nodeid": NODE + "test_memory_over_epochs[optimized]",
            "title": "Growth of the memory in use from epoch to epoch.",
            "value": 0.0031,
            "low": -0.0012,
            "high": 0.0074,
            "unit": "% per epoch",
            "status": "measured",
            "reason": None,
            "details": ["60 epochs, median 412.3 MiB"],
        },
        {
            **common,
            "name": "test_quality",
            "nodeid": NODE + "test_quality",
            "title": "Validation loss over paired seeds.",
            "value": None,
            "low": None,
            "high": None,
            "unit": "sd",
            "status": "not_measured",
            "reason": "the data set is not installed",
            "details": [],
        },
    ]


def without_claims() -> Row:
    """Return the record of a project that has no ledger."""
    record = sample_record()
    record["speedclaims"] |= {"claims": [], "audit": []}
    return record


def without_claims_asked() -> Row:
    """Return the record of a run of a few tests, none of which judges a claim."""
    record = sample_record()
    claims = [
        claim(f"unasked-{number}", f"a sentence, number {number}", "not_measured", reason="its test did not run")
        for number in range(3)
    ]
    record["speedclaims"] |= {"claims": claims, "audit": []}
    return record


def with_evidence() -> Row:
    """Return a record with claims that could not be judged and pairs that are evidence about them."""
    record = gpu_record()
    run = record["speedclaims"]
    twin = pair(
        "test_twin",
        "The trainer's twin in PyTorch.",
        before="PyTorch twin: reference",
        after="PyTorch twin: optimized",
        before_s=0.41,
        after_s=0.333,
        speedup=1.23,
        low=1.2,
        high=1.26,
        device="cuda",
    )
    run["pairs"].append(twin)
    skipped = {"reason": "tensorflow is not installed", "low": 1.5, "pair": NODE + "test_skipped"}
    run["claims"] += [
        claim("skipped", "a sentence about TensorFlow", "not_measured", evidence=[twin["nodeid"]], **skipped),
        claim("skipped", "a sentence about TensorFlow", "not_measured", evidence=[twin["nodeid"]], **skipped),
        claim(
            "unasked",
            "a sentence whose test was left out",
            "not_measured",
            low=2.0,
            reason="its test did not run",
            evidence=[NODE + "test_fewer_epochs", NODE + "test_gone", twin["nodeid"]],
        ),
    ]
    confirmed = next(row for row in run["claims"] if row["verdict"] == "confirmed")
    confirmed["evidence"] = [twin["nodeid"]]
    return record


PUBLISHED, FIXED = "published", "done right"


def with_variants() -> Row:
    """Return a record with claims that were judged on two variants, and others that have none."""
    record = sample_record()
    run = record["speedclaims"]
    fixed = {
        "loader-workers": pair(
            "test_loader_workers[done right]",
            "Four loader workers against none, done right.",
            before_s=0.1846,
            after_s=0.1404,
            speedup=1.315,
            low=1.29,
            high=1.34,
        ),
        "overall": pair(
            "test_optimized_trainer[done right]",
            "The trainer that the document describes, done right.",
            before_s=0.1528,
            after_s=0.1261,
            speedup=1.212,
            low=1.204,
            high=1.22,
        ),
    }
    run["pairs"] += fixed.values()
    rows = {row["id"].partition(".")[2]: row for row in run["claims"]}
    verdicts = ("verdict", "overall")
    of_fixed = {
        "loader-workers": dict.fromkeys(verdicts, "confirmed") | {"reason": None},
        "overall": dict.fromkeys(verdicts, "confirmed"),
        "batch-size": {
            **dict.fromkeys(("measured", "measured_low", "measured_high", "pair", "device", "equivalence")),
            **dict.fromkeys(verdicts, "not_measured"),
            "reason": "its test did not run",
        },
        "amp-memory": {**dict.fromkeys(verdicts, "refuted"), "reason": None, "requires": {}, "device": "cpu"}
        | {"measured": 1.02, "measured_low": 1.02, "measured_high": 1.02, "pair": NODE + "test_optimized_trainer"},
    }
    for name, changes in of_fixed.items():
        figures = {}
        if name in fixed:
            found = fixed[name]
            figures = {
                f"measured{end}": found[key] for end, key in (("", "speedup"), ("_low", "low"), ("_high", "high"))
            }
            figures["pair"] = found["nodeid"]
        rows[name]["variant"] = PUBLISHED
        place = run["claims"].index(rows[name]) + 1
        run["claims"].insert(place, {**rows[name], "variant": FIXED, **figures, **changes})
    rows["amp-memory"] |= {"reason": "the published program ran out of memory", "requires": {}}
    return record


def empty_record() -> Row:
    """Return a record in which nothing was measured."""
    record = without_claims()
    record["speedclaims"] |= {"pairs": [], "figures": []}
    record["speedclaims"]["noise_floor"] |= {
        "value": None,
        "status": "not_measured",
        "reason": "no control pair ran",
        "num_processes": 0,
        "pairs": [],
    }
    return record


def figures_alone() -> Row:
    """Return the record of a run of tests that measured figures and no pair."""
    record = empty_record()
    record["speedclaims"]["figures"] = _recorded_figures()
    return record


def rung(name: str, kind: str, on: tuple[bool, ...], speedup: float | None, **changes: Any) -> Row:
    """Return a row of an ablation of the switches cached, fused and graphs, its interval 2% to each side."""
    if kind == "added_last":
        changes = {"before": f"fastest: {name}", "after": "fastest: all on"} | changes
    switches = [{"name": switch, "on": value} for switch, value in zip(("cached", "fused", "graphs"), on, strict=True)]
    measured: Row = {} if speedup is None else {"low": speedup / 1.02, "high": speedup * 1.02}
    return pair(
        f"test_switches[{name}]",
        "An epoch: what each switch brings.",
        before_s=None if speedup is None else 0.4,
        after_s=None if speedup is None else 0.4 / speedup,
        speedup=speedup,
        ablation={
            "of": "fastest",
            "kind": kind,
            "switches": switches,
            "not_here": [{"name": "streams", "reason": "for GPUs"}],
        },
        **({"after": f"fastest: {name}"} | measured | changes),
    )


def ladder_record() -> Row:
    """Return a record with an ablation: one switch that helps, one that is not seen, one whose rows lack something."""
    record = sample_record()
    off = {"status": "withheld", "reason": "losses differ", "equivalence": "failed", "num_rounds": 0}
    short = {"status": "too_few_rounds", "reason": "too few rounds: 2 double rounds", "low": None, "high": None}
    record["speedclaims"]["pairs"] += [
        rung("-cached", "leave_one_out", (False, True, True), 1.2),
        rung("restructured", "ladder", (False, False, False), 0.99),
        rung("+cached", "ladder", (True, False, False), 1.96),
        rung("+fused", "ladder", (True, True, False), 1.965),
        rung("+graphs", "ladder", (True, True, True), 2.4),
        rung("-fused", "added_last", (True, False, True), 0.996, **short),
        rung("-graphs", "added_last", (True, True, False), None, **off),
    ]
    return record


def timeline(seconds: list[float], percent: list[float], reason: str | None = None) -> Row:
    """Return one side's utilization over time."""
    return {"seconds": seconds, "percent": percent, "reason": reason}


def gpu_record() -> Row:
    """Return a later record of a machine with a GPU, with every figure measured."""
    record = copy.deepcopy(sample_record())
    record["datetime"] = "2026-11-22T09:30:12.000000+00:00"
    run = record["speedclaims"]
    run["environment"] |= {
        "device": "cuda",
        "device_name": "NVIDIA H200",
        "gpus": [{"name": "NVIDIA H200", "driver": "580.65", "memory_bytes": 150_000_000_000}],
    }
    for row in run["pairs"]:
        if row["speedup"] is not None:
            row["device"] = "cuda"
            row["cold_before_s"], row["cold_after_s"] = figure(2.1, "s"), figure(11.4, "s")
            row["memory"] = sides(8_241_000_000, 4_870_000_000, "bytes")
            row["syncs"] = sides(640, 4, "1")
            spent = {"data_wait": 0.01, "transfer": 0.02, "forward": 0.05, "backward": 0.06, "other": 0.004}
            row["profile"] = {"before": profiled(41.5, **spent), "after": profiled(88.0, compiled_step=0.06)}
            row["gpu"] = {
                "energy_j": sides(412.0, 255.5, "J"),
                "utilization": sides(55.0, 91.0, "percent"),
                "temperature_c": sides(41.0, 63.0, "°C"),
                "other_processes": sides(0, 0, "1"),
            }
            row["gpu_timeline"] = {
                "before": timeline([0.17, 0.33, 0.5, 0.67], [51.0, 62.0, 55.0, 52.0]),
                "after": timeline([0.17, 0.33, 0.5], [88.0, 93.0, 92.0]),
            }
    return record


def add_inconsistent(record: Row, number: int) -> None:
    """Add so many arithmetic claims that contradict their own figures."""
    run = record["speedclaims"]
    for rows in (run["claims"], run["audit"]):
        template = next(row for row in rows if row["verdict"] == "inconsistent")
        rows += [template | {"id": f"a{i}"} for i in range(number)]
