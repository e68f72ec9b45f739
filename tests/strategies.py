"""Every Hypothesis strategy of these tests."""

import unicodedata

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

MOST_TENSORS, MOST_ELEMENTS = 5, 64

_SPECIALS = (np.inf, -np.inf, np.nan)


def _elements(scale: float) -> st.SearchStrategy[float]:
    """Zeros, and numbers up to `scale` that stay clear of float32's subnormals."""
    magnitudes = st.floats(2.0**-10, 1.0, width=32)
    return st.one_of(st.just(0.0), magnitudes, magnitudes.map(lambda value: -value)).map(
        lambda value: float(np.float32(value * scale))
    )


@st.composite
def gradient_sets(draw, *, least_tensors: int = 1, least_elements: int = 0, nonzero: bool = False):
    """Gradients of one model: 1 to 5 float32 arrays of 0 to 64 elements, all of one order of magnitude."""
    scale = 10.0 ** draw(st.integers(-3, 3))
    sizes = draw(st.lists(st.integers(least_elements, MOST_ELEMENTS), min_size=least_tensors, max_size=MOST_TENSORS))
    gradients = [draw(npst.arrays(np.float32, size, elements=_elements(scale))) for size in sizes]
    if nonzero and not any(gradient.any() for gradient in gradients):
        gradients.append(np.array([scale], np.float32))
    return gradients


def clip_limits(least: float = 1e-3) -> st.SearchStrategy[float]:
    """Finite limits of a gradient norm."""
    return st.floats(least, 1e3)


def loose_factors() -> st.SearchStrategy[float]:
    """By how much a limit exceeds a norm."""
    return st.floats(1.01, 1e3)


def tight_factors() -> st.SearchStrategy[float]:
    """Limit as a fraction of the norm."""
    return st.floats(1e-2, 1.0)


@st.composite
def nonfinite_gradient_sets(draw, specials=_SPECIALS):
    """Gradients in which at least one element is infinite or NaN, and the places of those: (gradients, index pairs)."""
    gradients = draw(gradient_sets(least_elements=1, nonzero=True))
    places = []
    for _ in range(draw(st.integers(1, 3))):
        tensor = draw(st.integers(0, len(gradients) - 1))
        element = draw(st.integers(0, len(gradients[tensor]) - 1))
        gradients[tensor][element] = draw(st.sampled_from(specials))
        places.append((tensor, element))
    return gradients, places


@st.composite
def overflowing_gradient_sets(draw):
    """Finite float32 gradients the squares of which are beyond float32.

    Tensors have two elements or more: the norm of a single one is its magnitude, taken without a square.
    """
    gradients = draw(gradient_sets(least_elements=2))
    tensor = draw(st.integers(0, len(gradients) - 1))
    gradients[tensor][0] = draw(st.sampled_from([1.0, -1.0])) * draw(st.floats(2e19, 3e38))
    return gradients


def refused_limits() -> st.SearchStrategy[float]:
    """Limits that no norm can have."""
    return st.one_of(st.just(0.0), st.just(-0.0), st.just(float("nan")), st.floats(max_value=-1e-30))


def missing_flags() -> st.SearchStrategy[list[bool]]:
    """Which parameters have no gradient."""
    return st.lists(st.booleans(), min_size=MOST_TENSORS + 1, max_size=MOST_TENSORS + 1)


@st.composite
def orders(draw, num: int):
    """A permutation of `num` places."""
    return draw(st.permutations(range(num)))


def seeds() -> st.SearchStrategy[int]:
    """Seeds of a training."""
    return st.integers(0, 2**32 - 1)


def few_seeds() -> st.SearchStrategy[int]:
    """Seeds few enough to have measured every one: for what holds in practice and is no theorem."""
    return st.integers(0, 24)


def step_counts() -> st.SearchStrategy[int]:
    """Optimizer steps: from one to more than a tiny epoch has."""
    return st.integers(1, 25)


def switch_subsets(switches) -> st.SearchStrategy[dict[str, bool]]:
    """Settings of some switches: every subset of them on."""
    return st.fixed_dictionaries({switch.name: st.booleans() for switch in switches})


def tiny_regressor_overrides() -> st.SearchStrategy[dict]:
    """Configurations of the tabular regressor that take milliseconds a step."""
    return st.fixed_dictionaries(
        {
            "num_rows": st.integers(60, 200),
            "num_features": st.integers(2, 12),
            "num_targets": st.integers(1, 3),
            "hidden_size": st.integers(4, 24),
            "num_layers": st.integers(0, 2),
            "batch_size": st.integers(8, 40),
            "dropout": st.sampled_from([0.0, 0.1, 0.5]),
            "clip_norm": st.sampled_from([0.1, 1.0, float("inf")]),
            "num_workers": st.integers(0, 2),
        }
    )


def scale_exponents(least: int = 0, most: int = 24) -> st.SearchStrategy[int]:
    """Exponents k of loss scales 2^k that neither overflow nor underflow in these trainings."""
    return st.integers(least, most)


def loss_scales() -> st.SearchStrategy[float]:
    """Loss scales of any kind, powers of two seldom."""
    return st.floats(1e-2, 1e6)


def autocast_dtypes() -> st.SearchStrategy:
    """Types in which a mixed-precision step may run on a CPU."""
    import torch

    return st.sampled_from([torch.bfloat16, torch.float32])


def good_and_bad_steps() -> st.SearchStrategy[list[bool]]:
    """Which of some steps have finite gradients."""
    return st.lists(st.booleans(), min_size=1, max_size=12)


def growth_intervals() -> st.SearchStrategy[int]:
    """Good steps in a row after which a loss scale doubles."""
    return st.integers(1, 4)


def memory_points() -> st.SearchStrategy[str]:
    """Where in a mixed-precision step memory may run out."""
    return st.sampled_from(["forward", "backward", "unscale", "step"])


def model_outputs() -> st.SearchStrategy[np.ndarray]:
    """p1, p2, p3 of some rows and targets, (B, K, 3), of any finite magnitude whose sums stay finite."""
    sizes = st.tuples(st.integers(1, 6), st.integers(1, 4), st.just(3))
    return npst.arrays(np.float32, sizes, elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False))


def state_dicts() -> st.SearchStrategy[dict[str, np.ndarray]]:
    """Weights by name."""
    names = st.from_regex(r"[a-z_]+(\.[a-z0-9_]+)*", fullmatch=True).filter(lambda name: not name.startswith("module."))
    return st.dictionaries(names, npst.arrays(np.float32, st.integers(0, 8)), min_size=1, max_size=MOST_TENSORS)


def training_settings() -> st.SearchStrategy[dict]:
    """Some hyperparameters by name, all of them usable."""
    counts, fractions = st.integers(1, 1000), st.floats(0.01, 0.45)
    positive = st.floats(1e-9, 1e9)
    return st.fixed_dictionaries(
        {},
        optional={
            "hidden_size": counts,
            "num_layers": st.integers(0, 20),
            "dropout": st.floats(0, 0.99),
            "batch_size": counts,
            "learning_rate": positive,
            "clip_norm": st.one_of(positive, st.just(float("inf"))),
            "weight_decay": st.one_of(st.just(0), positive),
            "num_epochs": counts,
            "patience": counts,
            "val_split": fractions,
            "test_split": fractions,
            "num_workers": st.integers(0, 8),
            "use_mixed_precision": st.booleans(),
            "persistent_workers": st.booleans(),
        },
    )


def unknown_keys(known) -> st.SearchStrategy[str]:
    """Names that a configuration does not have; in capitals, some know them all the same."""
    return st.text(min_size=1, max_size=12).filter(lambda name: name not in known and not name.isupper())


def flags() -> st.SearchStrategy[bool]:
    """Whether or not."""
    return st.booleans()


def few(most: int) -> st.SearchStrategy[int]:
    """A small count, at least one."""
    return st.integers(1, most)


def dropouts() -> st.SearchStrategy[float]:
    """Probabilities of zeroing an activation."""
    return st.sampled_from([0.0, 0.1, 0.5])


def fractions() -> st.SearchStrategy[float]:
    """Places in a file, as a fraction of its length below 1."""
    return st.floats(0, 1, exclude_max=True)


def image_loaders() -> st.SearchStrategy[dict]:
    """Settings of a loader of tiny images, with worker processes."""
    return st.fixed_dictionaries(
        {
            "batch_size": st.integers(2, 12),
            "image_size": st.sampled_from([4, 8, 16]),
            "num_workers": st.integers(1, 3),
            "persistent_workers": st.booleans(),
        }
    )


def damages(num: int) -> st.SearchStrategy[set[int]]:
    """Which of some images are damaged: a few of them, at times none."""
    return st.sets(st.integers(0, num - 1), max_size=4)


def tiny_dcgan_overrides() -> st.SearchStrategy[dict]:
    """Configurations of the text-to-image GAN that take milliseconds a step, all of the same offline data."""
    return st.fixed_dictionaries(
        {
            "width": st.integers(1, 3),
            "text_size": st.integers(2, 16),
            "text_hidden_size": st.integers(1, 4),
            "noise_size": st.integers(1, 8),
            "image_size": st.sampled_from([8, 16]),
            "batch_size": st.integers(5, 14),
            "large_batch_size": st.integers(15, 25),
            "learning_rate": st.sampled_from([2e-4, 1e-3]),
            "beta1": st.sampled_from([0.0, 0.5]),
            "procedure": st.sampled_from(["two_forwards", "one_forward"]),
            "l1_weight": st.sampled_from([0.0, 50.0]),
            "feature_weight": st.sampled_from([0.0, 100.0]),
            "num_epochs": st.integers(2, 6),
            "log_interval": few(4),
            "accumulation_steps": few(4),
            "patience": few(3),
        }
    )


def few_steps() -> st.SearchStrategy[int]:
    """Optimizer steps: from none to about a tiny epoch of the text-to-image GAN."""
    return st.integers(0, 5)


def gan_points() -> st.SearchStrategy[tuple[str, int]]:
    """Where in a step of two networks something may go wrong: what is called, and how often it went well before."""
    calls = {
        "generator": 1,
        "discriminator": 5,
        "backward": 2,
        "unscale": 2,
        "discriminator_step": 1,
        "generator_step": 1,
        "update": 1,
    }
    return st.sampled_from([(name, number) for name, count in calls.items() for number in range(count)])


def networks() -> st.SearchStrategy[str]:
    """One of the GAN's two."""
    return st.sampled_from(["discriminator", "generator"])


def bad_networks() -> st.SearchStrategy[tuple[str, ...]]:
    """Which of the GAN's two have a gradient that is not finite: one or both."""
    return st.sampled_from([("discriminator",), ("generator",), ("discriminator", "generator")])


def moderate_logits() -> st.SearchStrategy[np.ndarray]:
    """Logits of a batch, from -5 to 5."""
    return npst.arrays(np.float32, st.integers(1, 16), elements=st.floats(-5, 5, width=32))


def labels() -> st.SearchStrategy[float]:
    """What a discriminator should say."""
    return st.sampled_from([0.0, 1.0])


def text_to_image_settings() -> st.SearchStrategy[dict]:
    """Some hyperparameters of the text-to-image GAN by name, all of them usable."""
    counts, fractions = st.integers(2, 1000), st.floats(0.01, 0.99)
    image_sizes = st.sampled_from([8, 16, 32, 64, 128])
    return st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("width", "noise_size", "text_size", "num_images", "num_workers", "patience"), counts),
            **dict.fromkeys(("batch_size", "large_batch_size", "num_epochs", "log_interval"), counts),
            **dict.fromkeys(("image_size", "small_image_size"), image_sizes),
            **dict.fromkeys(("beta1", "beta2", "val_split"), fractions),
            **dict.fromkeys(("l1_weight", "feature_weight"), st.floats(0, 1e9)),
            "learning_rate": st.floats(1e-9, 1e9),
            "split_seed": st.integers(0, 2**63),
            "mixed_precision_dtype": st.sampled_from(["auto", "float16", "bfloat16"]),
        },
    )


def dialogue_settings() -> st.SearchStrategy[dict]:
    """Some hyperparameters of the dialogue GAN by name, all of them usable."""
    counts, positive = st.integers(1, 1000), st.floats(1e-9, 1e9)
    return st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("hidden_size", "num_filters", "batch_size", "d_steps", "d_train_interval"), counts),
            **dict.fromkeys(("learning_rate_g", "learning_rate_d", "clipnorm", "sample_temperature"), positive),
            **dict.fromkeys(("augmentation", "dropout"), st.floats(0, 0.99)),
            **dict.fromkeys(("conditional", "eager"), st.booleans()),
            "gradient_clip": st.one_of(positive, st.just(float("inf"))),
            "temp_start": st.floats(0.5, 10.0),
            "temp_end": st.floats(0.01, 0.5),
            "temp_decay": st.floats(0.01, 1.0),
            "label_smoothing": st.floats(0, 0.49),
            "adversarial_epochs": st.integers(0, 1000),
            "split_seed": st.integers(0, 2**63),
        },
    )


def tiny_dialogue_overrides() -> st.SearchStrategy[dict]:
    """Configurations of the dialogue GAN that take little time to trace, under which its tiers promise the same."""
    return st.fixed_dictionaries(
        {
            "sequence_length": st.integers(3, 5),  # of two, a recurrent weight sees only zeros
            "batch_size": st.integers(3, 6),
            "dropout": st.sampled_from([0.0, 0.3]),
            "label_smoothing": st.sampled_from([0.0, 0.1]),
            "d_steps": st.integers(1, 2),
            "g_steps": st.integers(1, 2),
            "conditional": st.booleans(),
            "temp_start": st.just(1.0),
            "temp_end": st.just(1.0),
            "gradient_clip": st.just(float("inf")),
        }
    )


def spoilt_gradients() -> st.SearchStrategy[float]:
    """What makes a gradient unusable: not finite, or finite with a norm that is not."""
    return st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e30])


def places() -> st.SearchStrategy[int]:
    """Which of a network's gradients, modulo their number."""
    return st.integers(0, 40)


@st.composite
def temperature_schedules(draw):
    """Start, end and decay of a temperature that falls."""
    start = draw(st.floats(0.1, 10.0))
    return start, draw(st.floats(0.05, 1.0)) * start, draw(st.floats(0.3, 1.0))


def epochs(most: int = 50) -> st.SearchStrategy[int]:
    """Epochs, counted from 0."""
    return st.integers(0, most)


def temperatures() -> st.SearchStrategy[float]:
    """Temperatures a sampler may have."""
    return st.floats(0.1, 10.0)


def logits_of_words(num_words: int = 12) -> st.SearchStrategy[np.ndarray]:
    """Logits of the next word, for a few sequences."""
    sizes = st.tuples(st.integers(1, 4), st.just(num_words))
    return npst.arrays(np.float32, sizes, elements=st.floats(-8, 8, width=32))


def intervals(most: int = 12, end: int = 40) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Intervals (start, end) of whole numbers, also empty ones, that overlap, touch and hold one another."""
    ends = st.tuples(st.integers(0, end), st.integers(0, end)).map(lambda both: (min(both), max(both)))
    return st.lists(ends, max_size=most)


@st.composite
def phase_scripts(draw, names, depth: int = 4):
    """A call as a tree: how long it works, and the phases that it enters, each with a tree of its own."""
    steps = []
    for _ in range(draw(st.integers(0, 3))):
        if depth and draw(st.booleans()):
            steps.append((draw(st.sampled_from(names)), draw(phase_scripts(names, depth=depth - 1))))
        else:
            steps.append(draw(st.integers(1, 1000)))
    return steps


def noises() -> st.SearchStrategy[float]:
    """Standard deviation of a double round's log-ratio."""
    return st.floats(1e-4, 0.3)


def slowdowns() -> st.SearchStrategy[float]:
    """By which factor an after side became slower."""
    return st.floats(1.0, 3.0)


def percents() -> st.SearchStrategy[float]:
    """Losses that fail, in per cent."""
    return st.floats(0.1, 100)


def p_values() -> st.SearchStrategy[list[float]]:
    """One-sided p-values of the pairs of a session, many of them small."""
    return st.lists(st.one_of(st.floats(0, 1), st.floats(0, 0.01)), min_size=1, max_size=12)


def process_values() -> st.SearchStrategy[tuple[list[list[float]], list[list[float]]]]:
    """Log speedups of the three processes of one to six pairs, in a base and in a new record."""
    pairs = st.integers(1, 6).flatmap(
        lambda num: st.lists(st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=3), min_size=num, max_size=num)
    )
    return pairs.flatmap(
        lambda base: st.lists(
            st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=3), min_size=len(base), max_size=len(base)
        ).map(lambda new: (base, new))
    )


@st.composite
def damaged_files(draw, contents, pieces=()):
    """Bytes of any kind, or a good file of which some are changed, cut out, repeated, or put in, among them pieces."""
    inserted = st.one_of(st.binary(min_size=1, max_size=8), *([st.sampled_from(pieces)] if pieces else []))
    if not draw(st.integers(0, 4)):
        return b"".join(draw(st.lists(st.one_of(st.binary(max_size=60), inserted), max_size=6)))
    content = draw(st.sampled_from(contents))
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.one_of(st.integers(0, 8), st.integers(0, len(content)))))
        middle = {
            "set": lambda cut: draw(st.binary(min_size=min(len(cut), 8), max_size=min(len(cut), 8))) + cut[8:],
            "cut": lambda _: b"",
            "repeat": lambda cut: cut[:200] * draw(st.integers(2, 4)),
            "insert": lambda cut: draw(inserted) + cut,
        }[draw(st.sampled_from(["set", "cut", "repeat", "insert"]))](content[start:end])
        content = content[:start] + middle + content[end:]
    return content


_SPEAKERS = ("Ada", "Old Tom", "The Ghost of Christmas Past", "Éloïse", "سارة", "小明", "सीता", "Аня", "Mr. O'Hara")
_SPEECHES = (
    "well then, off we go",
    "नमस्ते आप कैसे हैं",
    "你今天去哪里了",
    "أين كنت طوال هذا اليوم",
    "12345",
    "he said: [go] now",
)
_NO_SPEECHES = (
    "ada: well then", "Note: well then", "Ada: no", "Ada: ?!?!?!", "[21:05] Ada: well then", "He leaves by the door.",
    "See http://example.org/page", "At 10:30 we left", "[SCENE: no end", ": well then",
    "The old house was empty: well then",
)  # fmt: skip


def script_rows() -> st.SearchStrategy[list[tuple[str, str]]]:
    """Rows of a play, each with its kind: `speech`, `scene`, `blank` or `other`."""
    form = st.sampled_from(["NFC", "NFD"])
    colon = st.sampled_from([":", ": ", " : ", "\uff1a"])
    speech = st.tuples(form, st.sampled_from(_SPEAKERS), colon, st.sampled_from(_SPEECHES)).map(
        lambda parts: ("speech", unicodedata.normalize(parts[0], "".join(parts[1:])))
    )
    scene = st.sampled_from(["[SCENE: inn]", "[scene:]", "[ Scene : a] b ]", "[SCENE\uff1a厨房]"]).map(
        lambda row: ("scene", row)
    )
    blank = st.sampled_from(["", "  ", "\ufeff", "\u200f "]).map(lambda row: ("blank", row))
    other = st.sampled_from(_NO_SPEECHES).map(lambda row: ("other", row))
    mark = st.sampled_from(["", "", "\ufeff", "\u200e", "  "])
    row = st.tuples(mark, st.one_of(speech, speech, scene, blank, other)).map(
        lambda parts: (parts[1][0], parts[0] + parts[1][1])
    )
    return st.lists(row, max_size=12)


@st.composite
def tables(draw, rows):
    """Tables of numbers, and some that are none, of up to three dimensions; most have two and some rows, either way."""
    kind = np.dtype(draw(st.sampled_from(["f2", "f4", "f8", ">f8", "i1", "i4", "i8", "u2", "u8", "b1", "c8"])))
    upright, turned = (st.tuples(st.just(rows), st.integers(1, 3)), st.tuples(st.integers(1, 3), st.just(rows)))
    any_shape = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=12)
    shape = draw(st.one_of(upright, upright, upright, turned, any_shape))
    elements = npst.from_dtype(kind)
    if kind.kind == "f" and draw(st.integers(0, 3)):
        elements = st.floats(-1e4, 1e4, width=8 * kind.itemsize)
    return draw(npst.arrays(kind, shape, elements=elements))


def offsets() -> st.SearchStrategy[float]:
    """Zeros from which quantities are counted: times, prices, ids."""
    return st.sampled_from([0.0, 1.0, -1e3, 2.0**24, 1e9, 1.75e9, -(2.0**40)])


def missing_counts() -> st.SearchStrategy[tuple[int, int]]:
    """How many entries of a list are good, and how many are not: at times about one in a hundred."""
    return st.tuples(st.one_of(st.integers(0, 5), st.integers(90, 400)), st.integers(0, 5))
