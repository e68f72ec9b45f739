"""Define the types of a record: what each of its rows holds, in which unit and within which bounds.

The published JSON schema is generated from them (``python -m speedclaims.record.schema``). A class becomes an object
whose description is its docstring. In ``Annotated``, a text describes the field, and a mapping adds keywords of JSON
Schema. At run time, rows are plain dictionaries. Loading the plugin does not import this module.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, NotRequired, Required, TypedDict, final

from speedclaims.record.json_types import JsonObject

Scalar = str | float | bool | None
Scalars = dict[str, Scalar]

_Count = Annotated[int, {"minimum": 0}]
_Positive = Annotated[float, {"exclusiveMinimum": 0}]
_NonNegative = Annotated[float, {"minimum": 0}]
_Name = Annotated[str, {"minLength": 1}]

SideName = Literal["before", "after"]
Work = Literal["same", "less", "different"]
FigureStatus = Literal["measured", "not_measured"]
PairStatus = Literal["measured", "too_few_rounds", "withheld", "not_measured"]
Equivalence = Literal["passed", "failed", "not_checked", "different_by_design"]
ArithmeticVerdict = Literal["consistent", "inconsistent"]
Verdict = Literal["confirmed", "refuted", "exceeded", "ambiguous", "not_measured", "consistent", "inconsistent"]
Better = Literal["higher", "lower", "neither"]
Over = Literal["all", "any", "median", "best"]
PhaseName = Literal[
    "data wait", "transfer", "forward", "backward", "optimizer", "host synchronization", "compiled step", "other"
]
GateVerdict = Literal[
    "regressed",
    "ambiguous",
    "held",
    "improved",
    "missing",
    "renamed",
    "not_measured",
    "reconfigured",
    "withheld",
    "new",
    "no_base",
]
AblationKind = Literal["ladder", "leave_one_out", "added_last"]


class Figure(TypedDict):
    """One measured figure, or the reason why there is none."""

    value: Annotated[float | None, "The measured value; null when it was not measured, never 0 in its place."]
    unit: Annotated[str, "Unit of the value, for example bytes, 1, s, J, W, percent."]
    status: Annotated[FigureStatus, "Whether there is a value."]
    reason: Annotated[str | None, "Why there is no value; null when there is one."]
    low: NotRequired[Annotated[float | None, "Low end of its interval or range, where there is one."]]
    high: NotRequired[Annotated[float | None, "High end of its interval or range, where there is one."]]


class BeforeAfter(TypedDict):
    """One figure for each side of a pair."""

    before: Figure
    after: Figure


class Sides(BeforeAfter):
    """One figure for each side of a pair, and before / after."""

    ratio: Figure


class Timeline(TypedDict):
    """One side's utilization over time."""

    seconds: Annotated[list[_NonNegative], "Seconds since the window's first reading."]
    percent: Annotated[list[_NonNegative], "The utilization in the time up to each of them."]
    reason: Annotated[str | None, "Why both are empty; null where they are not."]


class Timelines(TypedDict):
    """Utilization over a window in which one side runs again and again alone."""

    before: Timeline
    after: Timeline


Lines = Annotated[
    dict[str, Annotated[int, {"minimum": 1}]],
    "A count for each line, file:number; files from the folder that the run was started in.",
]


class InternalSyncs(TypedDict):
    """Synchronizations that the frameworks make inside themselves; null where nothing could be counted."""

    before: Annotated[int | None, {"minimum": 0}]
    after: Annotated[int | None, {"minimum": 0}]


class SyncLines(TypedDict):
    """Which lines of each side synchronize how often in one call; absent where the syncs pass did not run."""

    before: Lines
    after: Lines
    internal: InternalSyncs


class PhaseTime(TypedDict):
    """Time of one phase of a call."""

    name: Annotated[PhaseName, "What the time was spent in."]
    seconds: Annotated[_Positive, "Time in it and in nothing inside it."]


class ProfiledSide(TypedDict):
    """The phases of one warm call of a side. The call is instrumented: never compare its time."""

    busy: Annotated[Figure, "For how much of the call at least one kernel runs on a GPU."]
    wall_s: Annotated[Figure, "Wall time of the instrumented call, the sum of the phases."]
    phases: Annotated[list[PhaseTime], "Exclusive time of each phase that took any; empty where wall_s has none."]


class Profile(TypedDict):
    """The phases of one warm call of each side."""

    before: ProfiledSide
    after: ProfiledSide


class Amount(TypedDict):
    """An amount of work of one call, and its rate as a share of the machine's ceiling."""

    before: Annotated[Figure, "The amount of one call of the before side."]
    after: Annotated[Figure, "The amount of one call of the after side."]
    share: Annotated[
        BeforeAfter,
        "The amount per second, by the times of this record, as a share of the ceiling; null where it would be above "
        "100%.",
    ]


class Switch(TypedDict):
    """A switch, and whether it is on."""

    name: _Name
    on: bool


class SwitchOff(TypedDict):
    """A switch that does nothing on this machine, and why."""

    name: _Name
    reason: str


class RecordedAblation(TypedDict):
    """Which row of an ablation a pair is.

    Rows of one test with the same of and switches belong together; those of ladder and leave_one_out have one before
    side.
    """

    of: Annotated[_Name, "What has the switches."]
    kind: Annotated[
        AblationKind,
        "ladder: the first switches are on. leave_one_out: all but one. added_last: all but one on the before side, "
        "all on the after side.",
    ]
    switches: Annotated[
        list[Switch],
        "All switches in the ladder's order, and which of them are on: on the before side for added_last, else on the "
        "after side.",
        {"minItems": 1},
    ]
    not_here: Annotated[list[SwitchOff], "Switches that do nothing on this machine, off in every row, and why."]


class RecordedNext(TypedDict):
    """How much faster an alternative is than the next slower one."""

    name: Annotated[_Name, "The next slower alternative."]
    speedup: Annotated[float, "Its time / the time of this one.", {"exclusiveMinimum": 0}]
    low: Annotated[float | None, "Low end of the interval, null with too few rounds.", {"minimum": 0}]
    high: Annotated[float | None, "High end of the interval, null with too few rounds.", {"minimum": 0}]


class RecordedAlternative(TypedDict):
    """Which alternative of a comparison of several a pair is: its after side, compared with the baseline before.

    The intervals of all pairs of one case, and those of the next slower ones, hold together at the pair's confidence
    (Holm).
    """

    of: Annotated[_Name, "Node id of the test that compares; its pairs have it in common."]
    title: Annotated[str, "First line of the test's docstring, or its name."]
    case: Annotated[dict[str, str], "Label of each parameter; empty without parameters."]
    sizes: Annotated[dict[str, float], "Those labels that are positive numbers."]
    unit: Annotated[str, "What the units of a call are called, empty if they have no name."]
    verdict: Annotated[
        str | None,
        "faster, slower, equal within 2%, or no clear difference from the baseline; null when not measured.",
    ]
    next: NotRequired[
        Annotated[RecordedNext, "How much faster this alternative is than the next slower one; the slowest has none."]
    ]
    baseline_next: NotRequired[Annotated[RecordedNext, "The same of the baseline."]]


class PassFields(TypedDict, total=False):
    """The fields of a pair that its passes fill in."""

    cold_before_s: Required[Annotated[Figure, "Seconds of the first call of the before side in a fresh process."]]
    cold_after_s: Required[Annotated[Figure, "Seconds of the first call of the after side in a fresh process."]]
    memory: Required[
        Annotated[Sides, "Peak memory of each side: of the process on a CPU, of the framework's allocator on CUDA."]
    ]
    memory_increase: Annotated[
        Sides,
        "Peak memory above the level right before the call. No ratio where a side takes less than 1 MiB. On a CPU the "
        "metric memory_ratio is this ratio, on CUDA that of memory. Absent in records older than this field.",
    ]
    syncs: Required[Annotated[Sides, "Host-device synchronizations of each side in one call: those of its own lines."]]
    sync_lines: SyncLines
    gpu: Required[Annotated[dict[str, Sides], "GPU figures by name; empty where no GPU took part."]]
    gpu_timeline: Timelines
    stages: Required[
        Annotated[
            dict[str, BeforeAfter],
            "Rates of parts of the work measured alone, in units per second, by the part's name.",
        ]
    ]
    profile: Profile
    flops: Annotated[
        Amount,
        "Floating point operations of one call: matrix products, convolutions and attention, counted on each side "
        "(before schema version 2 on the before side, for both); and their share of the highest of the machine's "
        "measured products.",
    ]
    bytes: Annotated[
        Amount,
        "Bytes that one call must read and write, as its test computes them, and their share of the machine's measured "
        "copy: a lower bound. Absent where the test does not, or where the pass profile did not run.",
    ]
    recorders: Required[
        Annotated[
            dict[str, dict[str, Sides]],
            "Figures of recorders of other packages, by the recorder's name and the figure's.",
        ]
    ]


@final
class RecordedPair(PassFields):
    """One pair of callables, measured in alternation."""

    name: Annotated[str, "Test name with its parameters, for example test_epoch[default]."]
    nodeid: Annotated[str, "pytest node id: the identity of the pair between runs."]
    title: Annotated[str, "One sentence: the first line of the test's docstring, or its name."]
    family: Annotated[str | None, "Family of trainers, or null where the project has none."]
    before: Annotated[str, "Label of the before side."]
    after: Annotated[str, "Label of the after side."]
    work: Annotated[Work, "Whether both sides do the same amount of the same work."]
    preset: Annotated[str | None, "Preset of sizes, or null."]
    device: Annotated[str, "Device that did the work, for example cpu or cuda."]
    control: Annotated[bool, "True for a control pair: two separately built instances of the same side."]
    ranks: NotRequired[
        Annotated[int, "Ranks of torchrun that work on both sides together, from the marker.", {"minimum": 1}]
    ]
    units: Annotated[_Positive, "Batches, images or rows done by one call; rates are units / seconds."]
    calls_before: Annotated[
        _Positive, "Calls of the before side in the whole that is compared; 1 unless the speedup is that of several."
    ]
    calls_after: Annotated[_Positive, "Calls of the after side in the whole that is compared."]
    num_rounds: Annotated[_Count, "Rounds measured: one before and one after each."]
    num_processes: Annotated[_Count, "Fresh processes that measured the rounds; 0 means the test's own process."]
    process_num_values: Annotated[
        list[Annotated[int, {"minimum": 1}]],
        "How many of log_ratios each process measured, in their order; together all of them.",
    ]
    hash_seeds: Annotated[
        list[int | None],
        "Seed of each process's hashes (PYTHONHASHSEED), null where it is not known. Empty before schema version 2.",
    ]
    process_before_s: NotRequired[
        Annotated[
            list[_NonNegative],
            "Mean seconds of a call of the before side in each process, interrupted rounds too: how fast the machine "
            "was.",
        ]
    ]
    fail_percent: Annotated[
        float | None,
        "Slowdown in percent at which the gate fails this pair, from the marker speedup_fail; null: --speedup-fail's.",
        {"exclusiveMinimum": 0},
    ]
    repeats_before: Annotated[_Count, "Calls of the before side per round."]
    repeats_after: Annotated[_Count, "Calls of the after side per round."]
    before_s: Annotated[float | None, "Median seconds of one call of the before side."]
    after_s: Annotated[float | None, "Median seconds of one call of the after side."]
    speedup: Annotated[
        float | None,
        "exp of the mean over processes of the median log-ratio before / after of the blocks; above 1 the after side "
        "is faster.",
        {"exclusiveMinimum": 0},
    ]
    low: Annotated[float | None, "Low end of the confidence interval of the speedup over processes.", {"minimum": 0}]
    high: Annotated[float | None, "High end of the confidence interval of the speedup over processes.", {"minimum": 0}]
    confidence: Annotated[float, "Nominal coverage of the interval.", {"exclusiveMinimum": 0, "exclusiveMaximum": 1}]
    reached_precision: Annotated[
        bool | None, "True when the interval became as narrow as asked before the time limit; null when not measured."
    ]
    correlation_factor: Annotated[float | None, "Variance inflation used for autocorrelated blocks; 1 means none."]
    log_ratios: Annotated[
        list[float], "One value per block of double rounds, in the order measured (processes one after the other)."
    ]
    interrupted_percent: Annotated[
        float | None,
        "Percent of the rounds during which the system took a processor away; they count only where a side has no "
        "other round. Null where it is not known.",
        {"minimum": 0},
    ]
    waiting_percent: Annotated[
        float | None,
        "Percent of the time in which some task of the machine waited for a processor; null where it is not known.",
        {"minimum": 0},
    ]
    stolen_percent: Annotated[
        float | None, "Percent of the processors' time that a hypervisor gave to other machines.", {"minimum": 0}
    ]
    throttled_percent: Annotated[
        float | None, "Percent of the time in which the run's control group was kept from running.", {"minimum": 0}
    ]
    carry_over: Annotated[
        Figure,
        "By how many percent the speedup is larger in rounds that follow one of the other side than in rounds that "
        "follow one of their own side.",
    ]
    equivalence: Annotated[Equivalence, "Whether both sides compute the same."]
    equivalence_details: Annotated[list[str], "In what the sides differ by design, or why the check failed."]
    ablation: NotRequired[RecordedAblation]
    alternative: NotRequired[RecordedAlternative]
    machine: NotRequired[Annotated[str, "The hardware, in a record of several machines."]]
    status: Annotated[
        PairStatus,
        "measured: there is a speedup. too_few_rounds: there is one without an interval. withheld: the equivalence "
        "check failed.",
    ]
    reason: Annotated[str | None, "Why there is no speedup or no interval; null when both are there."]


@final
class RecordedFigure(TypedDict):
    """One figure that a test measured itself: a count, a quality, a share; not a time."""

    name: Annotated[str, "Test name with its parameters."]
    nodeid: Annotated[str, "pytest node id."]
    title: Annotated[str, "First line of the test's docstring."]
    family: Annotated[str | None, "Family of trainers, or null."]
    preset: Annotated[str | None, "Preset of sizes, or null."]
    device: Annotated[str, "Device it was measured on."]
    work: Annotated[Work, "same, less or different work."]
    value: Annotated[float | None, "The value; null when it was not measured."]
    low: Annotated[float | None, "Low end of its interval; the value itself where it is exact."]
    high: Annotated[float | None, "High end of its interval; the value itself where it is exact."]
    unit: Annotated[str, "Unit of the value."]
    status: Annotated[FigureStatus, "Whether there is a value."]
    reason: Annotated[str | None, "Why there is none."]
    details: Annotated[list[str], "How it was measured, and what a reader should know."]
    machine: NotRequired[Annotated[str, "The hardware, in a record of several machines."]]


class RecordedClaim(TypedDict):
    """One claim of the ledger and its verdict.

    A claim has one row for each test that judges it. Where it is judged on several variants, the rows of each of them
    are together, and the first variant's verdict counts.
    """

    id: Annotated[str, "The claim's id in the ledger."]
    variant: Annotated[
        str | None, "Which variant of the program the test measured; null where the claim has no variants."
    ]
    source: Annotated[str, "Source document."]
    text: Annotated[str, "The claim, quoted."]
    kind: Annotated[Literal["measured", "arithmetic"], "How it is judged."]
    metric: Annotated[str | None, "Which figure of the pair judges it."]
    unit: Annotated[str, "Unit of the bounds and the measured value; 1 for ratios."]
    work: Annotated[str | None, "Which work the claim is about: same, less or different."]
    low: Annotated[float | None, "Lower bound of what is claimed, or null."]
    high: Annotated[float | None, "Upper bound of what is claimed, or null."]
    better: Annotated[Better, "Side of the bounds on which the claim is exceeded; it is refuted on any other side."]
    over: Annotated[
        Over,
        "How several tests judge the claim: all must hold, any may hold, or the one with the median or best figure "
        "decides.",
    ]
    requires: Annotated[dict[str, str], "What the claim needs in order to be judged."]
    measured: Annotated[
        float | None, "What was measured here, also where the claim's requirement is unmet (the local figure)."
    ]
    measured_low: Annotated[float | None, "Low end of its interval."]
    measured_high: Annotated[float | None, "High end of its interval."]
    verdict: Annotated[Verdict, "The verdict of this test."]
    overall: Annotated[
        Verdict, "The verdict on the claim, or on this variant, over all its tests; those not measured do not judge."
    ]
    reason: Annotated[str | None, "Why the verdict is ambiguous or not_measured; null otherwise."]
    pair: Annotated[str | None, "nodeid of the test that measured it, or null."]
    device: Annotated[str | None, "Device it was measured on, or null."]
    equivalence: Annotated[str | None, "Equivalence of the pair, or null."]
    evidence: NotRequired[
        Annotated[
            list[str],
            "nodeids of the tests whose markers show their pairs as evidence, without influence on the verdict: those "
            "with a measured speedup in this record. Absent where there is none.",
            {"minItems": 1},
        ]
    ]


class RecordedAudit(TypedDict):
    """One arithmetic claim, recomputed from the document's own figures."""

    id: Annotated[str, "Claim id."]
    source: Annotated[str, "Source document."]
    text: Annotated[str, "The sentence, quoted."]
    claimed: Annotated[str, "What the document says."]
    recomputed: Annotated[str, "What its own figures give."]
    formula: Annotated[str, "How it was recomputed."]
    verdict: Annotated[ArithmeticVerdict, "The verdict."]


class NoiseFloor(TypedDict):
    """How much identical code differs on this machine."""

    value: Annotated[
        float | None,
        "Largest relative difference between two instances of the same side, over the control pairs' processes: 0.01 "
        "is 1%.",
    ]
    unit: Literal["1"]
    status: Annotated[FigureStatus, "Whether there is a value."]
    reason: Annotated[str | None, "Why there is none, or a caveat."]
    num_processes: Annotated[_Count, "Fresh processes it comes from; 0 means the test's own process."]
    pairs: Annotated[list[str], "nodeids of the control pairs."]


class Ceilings(TypedDict):
    """The most that the machine does with one framework on one device, measured on it."""

    framework: Annotated[str | None, "What multiplied: torch or tensorflow; null where there is neither."]
    device: Annotated[str, "Where, for example cpu or cuda."]
    matmul: Annotated[
        dict[str, Figure],
        "Operations a second of a large product of random matrices, by the kind of number.",
        {"minProperties": 1},
    ]
    copy: Annotated[Figure, "Bytes a second of a large copy, read and written."]


class Commit(TypedDict):
    """The commit that was measured."""

    id: Annotated[str | None, "Commit."]
    dirty: Annotated[bool | None, "Whether the tree had changes."]


class Environment(TypedDict):
    """The machine, the versions and the settings of the run."""

    device: Annotated[str, "Device of the pairs, for example cpu or cuda; several joined by a comma."]
    device_name: Annotated[str, "The machine in words, for a person: processor or GPU, cores."]
    os: Annotated[str, "Operating system."]
    python: Annotated[str, "Python version."]
    cpu: Annotated[Scalars, "Processor: model, num_cores, governor, load_1min."]
    memory_bytes: Annotated[int | None, "Physical memory.", {"minimum": 0}]
    libraries: Annotated[
        dict[str, str | None],
        "Version of each distribution of which the session imported a module, and of a few more: null where one of "
        "those is not installed. Before schema version 2 of those few alone.",
    ]
    threads: Annotated[Scalars, "Thread counts and the variables that set them."]
    settings: Annotated[Scalars, "Numerical settings, such as TF32 and oneDNN."]
    gpus: Annotated[list[Scalars], "GPUs found."]
    commit: Commit
    command: Annotated[str, "The command line."]
    options: Annotated[Scalars, "Measuring options in force."]
    root: NotRequired[Annotated[str, "Name of the folder at which the names of tests begin."]]


class RecordedLoss(TypedDict):
    """How much longer the after side takes than in the base, measured against the before side: 0.05 is 5%."""

    value: Annotated[float, "The estimate; below 0 the speedup has grown."]
    low: Annotated[float, "Low end of its interval."]
    high: Annotated[float, "High end of its interval."]
    confidence: Annotated[float, "Coverage of that interval, corrected for the number of pairs and of looks."]


class RecordedRatio(TypedDict):
    """A speedup with its interval, where it has one."""

    speedup: float
    low: float | None
    high: float | None


class RecordedChange(TypedDict):
    """The gate's verdict on one pair."""

    nodeid: Annotated[str, "pytest node id of the pair."]
    name: Annotated[str, "Test name."]
    verdict: Annotated[GateVerdict, "What became of its speedup."]
    percent: Annotated[float, "Loss in percent that fails it."]
    base: NotRequired[Annotated[RecordedRatio, "Its speedup in the base, where it has one."]]
    new: NotRequired[Annotated[RecordedRatio, "Its speedup in this run, where it has one."]]
    loss: NotRequired[Annotated[RecordedLoss, "What was lost; absent where the two cannot be compared."]]
    problem: Annotated[str | None, "Why the two cannot be compared, or why the verdict is ambiguous."]


class RecordedGate(TypedDict):
    """The comparison of this run with a base, an earlier run (--speedup-fail)."""

    base: Annotated[str, "Where the base comes from: its file, commit and day."]
    changes: Annotated[list[RecordedChange], "One for each pair of the base, and for each that only this run has."]
    lost_claims: Annotated[list[str], "Claims that held in the base and are refuted now, a sentence each."]
    warnings: Annotated[list[str], "What does not fail and should be known, a sentence each."]
    notes: Annotated[list[str], "What was compared, a sentence each."]
    base_floor: Annotated[float | None, "Noise floor of the base: 0.01 is 1%."]
    new_floor: Annotated[float | None, "Noise floor of this run."]
    fails_ambiguous: Annotated[bool, "Whether a pair fails of which the noise hides what became (option)."]
    has_no_base: NotRequired[Annotated[bool, "Whether both sides were measured in this run (--speedup-against)."]]


class RecordedRevision(TypedDict):
    """One side of a run that compares two revisions or two interpreters."""

    label: Annotated[str, "The reference, folder or interpreter as given; working tree for the files as they are."]
    commit: Annotated[str | None, "Hash of the commit; null where the side is none."]
    python: Annotated[str, "Version of the interpreter."]


class LibraryVersions(TypedDict):
    """A distribution's version on each side, null where it is not installed."""

    before: str | None
    after: str | None


class RecordedAgainst(TypedDict):
    """The two sides of a run with --speedup-against or --speedup-python."""

    before: RecordedRevision
    after: RecordedRevision
    libraries: Annotated[
        dict[str, LibraryVersions],
        "Distributions whose versions differ; empty where both sides have one environment.",
    ]
    notes: Annotated[list[str], "What is missing from a side, a sentence each."]


class RecordedShard(TypedDict):
    """Which of several runs this is that share the tests of a suite."""

    index: Annotated[int, "Number of the shard, from 1 on.", {"minimum": 1}]
    count: Annotated[int, "How many shards there are.", {"minimum": 1}]
    tests: Annotated[
        dict[str, int],
        "The plan: each test with a pair or a figure, by node id, and its shard. Control pairs are in all.",
    ]


class RecordedMerged(TypedDict):
    """List the records that speedclaims merge made this one of, and what is missing."""

    files: Annotated[list[str], "Names of the records."]
    holes: Annotated[list[str], "What is missing of a suite in shards, a sentence a shard."]
    notes: Annotated[list[str], "Tests that several records had, and in what the machines differ, a sentence each."]


class Section(TypedDict):
    """One run's pairs, figures, verdicts and environment."""

    schema_version: Literal[2]
    environment: Environment
    noise_floor: NoiseFloor
    ceilings: Annotated[list[Ceilings], "The most that the machine does; empty where the profile pass did not run."]
    pairs: list[RecordedPair]
    figures: Annotated[list[RecordedFigure], "Figures that tests measured themselves."]
    not_run: Annotated[list[str], "nodeids of tests with a pair or a figure that never ran: the run was cut off."]
    claims: list[RecordedClaim]
    audit: list[RecordedAudit]
    gate: NotRequired[Annotated[RecordedGate, "The comparison with a base; absent where nothing was compared."]]
    against: NotRequired[
        Annotated[RecordedAgainst, "The revisions or interpreters compared; absent where both sides are in the tests."]
    ]
    durations: NotRequired[
        Annotated[dict[str, float], "Seconds that each test with a pair or a figure took, by node id."]
    ]
    shard: NotRequired[Annotated[RecordedShard, "The shard that this run is (--speedup-shard)."]]
    merged: NotRequired[Annotated[RecordedMerged, "What this record was made of (speedclaims merge)."]]


class Record(TypedDict):
    """pytest-benchmark's JSON as it is, plus the key speedclaims: one run's pairs, verdicts and environment."""

    machine_info: JsonObject
    commit_info: JsonObject
    benchmarks: list[JsonObject]
    datetime: str
    version: str
    speedclaims: Section


Row = RecordedPair | RecordedFigure
"""The row that a test leaves: a pair has a ``speedup``, a figure a ``value``."""
Labels = Mapping[str, str | None]
"""Labels of the rows of a project's pairs: ``family``, ``preset`` and ``device``."""
