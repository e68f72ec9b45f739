"""The documents' own arithmetic: one function for each arithmetic claim of claims.toml.

Every figure below is from a document (000 to 004, by the beginning of its file's name); comments say where a figure
is of another document than the claim, or of the program that a document is about. What the figures give is computed
here, the rule that compares it with the claim is in ``speedclaims.audit``.
"""

import math
from itertools import combinations

from speedclaims.audit import Range, Recomputed, at_least, counted, from_figures, product, two_statements

MS_PER_S = 1000
S_PER_MIN = 60

# --- Documents 000, 001, 002: the dialogue GAN ------------------------------------------------------------------------

EPOCHS = 20  # "Total (20 epochs)", "Training 20 Epochs"
BATCH_MS_BEFORE, BATCH_MS_AFTER = Range(150, 200), Range(30, 50)
EPOCH_S_BEFORE, EPOCH_S_AFTER = Range(50, 65), Range(10, 15)
TOTAL_MIN_BEFORE, TOTAL_MIN_AFTER = Range(60, 80), Range(15, 20)

# the expected output of 001
TOTAL_BATCHES = 640
EPOCH_S = Range.rounded(12.34, 2)
EPOCH_BATCH_MS = Range.rounded(38.7, 1)
AVG_BATCH_MS, MIN_BATCH_MS, MAX_BATCH_MS = (Range.rounded(value, 1) for value in (31.2, 26.5, 42.3))
FIRST_TEN_MS = Range.rounded(42.3, 1)

# of the program of 000 to 002, in no document: the discriminator's loss is the sum of the binary cross-entropies of the
# real and of the fake sequences, of whose probabilities Keras clips the ends
BATCH_SIZE = 64
LABEL_SMOOTHING = 0.1  # real sequences are 0.9, fake ones 0.1
LEAST_PROBABILITY = 1e-7

TEMP_START, TEMP_END, TEMP_DECAY = 2.0, 0.5, 0.95
TEMP_BEFORE = 1.0  # the step took no temperature: logits / 1, which is the new parameter's default
D_TRAIN_INTERVAL = 1
SCALARS = ("d_loss", "d_acc", "g_loss", "g_reward")  # each with one .numpy() where the loop reads it
PRINT_EVERY = 10

# arguments of the calls in the loop before the change, and the names that take the results (002)
CALLS_BEFORE = {
    "train_discriminator_adversarial": ("batch_seqs, fake_seqs", "d_loss, d_loss_real, d_loss_fake, d_acc"),
    "train_generator_adversarial": ("batch_seqs, batch_char, batch_scene", "g_loss, g_reward"),
}
# parameters of the functions after it (002 and 000), and the results (002: of the second, as its loop takes them)
FUNCTIONS_AFTER = {
    "train_discriminator_adversarial": ("real_sequences, fake_sequences", "loss, loss_real, loss_fake, acc"),
    "train_generator_adversarial": ("sequences, char_cond, scene_cond, temperature=1.0", "g_loss, g_reward"),
}
CALL_IN_CELL_30 = "d_loss, d_acc = train_discriminator_adversarial(batch_seqs, fake_seqs)"  # 000, before and after


def batch_time() -> Recomputed:
    """150-200 ms before, 30-50 ms after."""
    ratio = BATCH_MS_BEFORE / BATCH_MS_AFTER
    return from_figures(claimed=Range(3, 5), recomputed=ratio, unit="x", formula="150-200 ms / 30-50 ms")


def epoch_time() -> Recomputed:
    """50-65 s before, 10-15 s after."""
    ratio = EPOCH_S_BEFORE / EPOCH_S_AFTER
    return from_figures(claimed=Range(4, 5), recomputed=ratio, unit="x", formula="50-65 s / 10-15 s")


def total_before() -> Recomputed:
    """20 epochs of 50-65 s."""
    total = EPOCHS * EPOCH_S_BEFORE / S_PER_MIN
    return from_figures(claimed=TOTAL_MIN_BEFORE, recomputed=total, unit="min", formula="20 epochs x 50-65 s (000)")


def total_after() -> Recomputed:
    """20 epochs of 10-15 s."""
    total = EPOCHS * EPOCH_S_AFTER / S_PER_MIN
    return from_figures(claimed=TOTAL_MIN_AFTER, recomputed=total, unit="min", formula="20 epochs x 10-15 s (000)")


def total_ratio() -> Recomputed:
    """60-80 min before, 15-20 min after."""
    ratio = TOTAL_MIN_BEFORE / TOTAL_MIN_AFTER
    return from_figures(claimed=4, recomputed=ratio, unit="x", formula="60-80 min / 15-20 min")


def total_savings() -> Recomputed:
    """60-80 min less 15-20 min."""
    saved = TOTAL_MIN_BEFORE - TOTAL_MIN_AFTER
    return from_figures(claimed=Range(45, 60), recomputed=saved, unit="min", formula="60-80 min - 15-20 min")


def total_ratio_of_two_documents() -> Recomputed:
    """3-4x in 002, 4x in 000, for the same 60-80 min and 15-20 min."""
    formula = "000 calls the same change, 60-80 min to 15-20 min, 4x"
    return two_statements(one=Range(3, 4), other=4, unit="x", formula=formula)


def hundred_batches_before() -> Recomputed:
    """100 batches of 150-200 ms."""
    seconds = 100 * BATCH_MS_BEFORE / MS_PER_S
    return from_figures(claimed=Range(15, 20), recomputed=seconds, unit="s", formula="100 x 150-200 ms")


def hundred_batches_after() -> Recomputed:
    """100 batches of 30-50 ms."""
    seconds = 100 * BATCH_MS_AFTER / MS_PER_S
    return from_figures(claimed=Range(3, 5), recomputed=seconds, unit="s", formula="100 x 30-50 ms")


def thousand_batches_before() -> Recomputed:
    """1,000 batches of 150-200 ms."""
    seconds = 1000 * BATCH_MS_BEFORE / MS_PER_S
    return from_figures(claimed=Range(150, 200), recomputed=seconds, unit="s", formula="1,000 x 150-200 ms")


def thousand_batches_after() -> Recomputed:
    """1,000 batches of 30-50 ms."""
    seconds = 1000 * BATCH_MS_AFTER / MS_PER_S
    return from_figures(claimed=Range(30, 50), recomputed=seconds, unit="s", formula="1,000 x 30-50 ms")


def gpu_utilization() -> Recomputed:
    """80-95 % over 40-60 %."""
    return from_figures(claimed=2, recomputed=Range(80, 95) / Range(40, 60), unit="x", formula="80-95 % / 40-60 %")


def _calls_before(num_batches: int) -> int:
    """Run the loop of 002 before the change and count its ``.numpy()`` calls."""
    calls = 0
    for batch_idx in range(num_batches):
        calls += len(SCALARS)
        if (batch_idx + 1) % PRINT_EVERY == 0:
            calls += len(SCALARS)
    return calls


def _calls_after(num_batches: int) -> tuple[int, int]:
    """Run the loop of 002 after the change and count its ``.numpy()`` calls: inside it, and behind it."""
    inside, kept = 0, []
    for batch_idx in range(num_batches):
        kept += SCALARS
        if (batch_idx + 1) % PRINT_EVERY == 0:
            inside += len(SCALARS)
    return inside, len(kept)


def numpy_calls_per_batch() -> Recomputed:
    """Four scalars a batch and four more every tenth."""
    calls = _calls_before(100) / 100
    return from_figures(
        claimed=8, recomputed=calls, unit="calls a batch", formula="the loop shown: 4 each batch, 4 more each tenth"
    )


def sync_quotient() -> Recomputed:
    """8 per batch over 4 per 10 batches, as the table's row has it."""
    return from_figures(claimed=20, recomputed=8 / (4 / 10), unit="x", formula="8 / (4 / 10), as stated")


def sync_reduction_in_loop() -> Recomputed:
    """The loops shown, inside."""
    ratio = _calls_before(100) / _calls_after(100)[0]
    return from_figures(
        claimed=20, recomputed=ratio, unit="x", formula="inside the loops shown: 4.4 a batch before / 0.4 after"
    )


def conversions_per_ten_batches() -> Recomputed:
    """The loop shown, with the conversions behind it."""
    inside, behind = _calls_after(100)
    formula = f"per 10 batches {inside // 10} inside the loop and {behind // 10} behind it: as many as before"
    return from_figures(claimed=4, recomputed=(inside + behind) / 10, unit="calls", formula=formula)


def conversions_once_an_epoch() -> Recomputed:
    """One conversion of each scalar of each batch."""
    num_batches = round(12.34 * MS_PER_S / 38.7)
    formula = f"loss.numpy() for each loss kept: 4 scalars x {num_batches} batches (12.34 s / 38.7 ms, 001)"
    return counted(
        claimed=len(SCALARS), recomputed=_calls_after(num_batches)[1], what="conversions an epoch", formula=formula
    )


def _temperature(epoch: int) -> float:
    """Return the temperature that the documented schedule prints at the head of an epoch, counted from 1."""
    current = TEMP_START
    for _ in range(epoch - 1):
        current = max(TEMP_END, current * TEMP_DECAY)
    return current


def _temperature_row(epoch: int, claimed: float) -> Recomputed:
    formula = f"2.0, then max(0.5, 0.95 x it) after each of {epoch - 1} epochs"
    return from_figures(claimed=claimed, recomputed=_temperature(epoch), digits=2, formula=formula)


def temperature_at_epoch_1() -> Recomputed:
    """Before any decay."""
    return _temperature_row(1, 2.00)


def temperature_at_epoch_5() -> Recomputed:
    """After 4 decays."""
    return _temperature_row(5, 1.64)


def temperature_at_epoch_10() -> Recomputed:
    """After 9 decays."""
    return _temperature_row(10, 1.23)


def temperature_at_epoch_15() -> Recomputed:
    """After 14 decays."""
    return _temperature_row(15, 0.92)


def temperature_at_epoch_20() -> Recomputed:
    """After 19 decays."""
    return _temperature_row(20, 0.69)


def final_temperature() -> Recomputed:
    """After the decay of the last epoch, where it is printed."""
    num_decays = next(n for n in range(100) if _temperature(n + 1) == TEMP_END)
    formula = f"2.0 x 0.95^20; 0.5 would be reached after {num_decays} epochs"
    return from_figures(claimed=0.693, recomputed=_temperature(EPOCHS + 1), digits=3, formula=formula)


def total_batches() -> Recomputed:
    """Batches of an epoch, 20 times."""
    return from_figures(
        claimed=TOTAL_BATCHES,
        recomputed=EPOCHS * EPOCH_S * MS_PER_S / EPOCH_BATCH_MS,
        unit="batches",
        formula="20 epochs (000, 002) x 12.34 s / 38.7 ms",
    )


def total_of_640_batches() -> Recomputed:
    """640 batches of 31.2 ms."""
    minutes = TOTAL_BATCHES * AVG_BATCH_MS / MS_PER_S / S_PER_MIN
    return from_figures(claimed=TOTAL_MIN_AFTER, recomputed=minutes, unit="min", formula="640 x 31.2 ms (001)")


def epoch_of_640_batches() -> Recomputed:
    """A twentieth of 640 batches of 31.2 ms."""
    seconds = TOTAL_BATCHES * AVG_BATCH_MS / MS_PER_S / EPOCHS
    return from_figures(
        claimed=12.34, recomputed=seconds, unit="s", digits=2, formula="640 x 31.2 ms / 20 epochs (000, 002)"
    )


def average_batch() -> Recomputed:
    """Between the shortest and the longest."""
    return from_figures(
        claimed=31.2,
        recomputed=Range(MIN_BATCH_MS.low, MAX_BATCH_MS.high),
        unit="ms",
        digits=1,
        formula="between the min of 26.5 ms and the max of 42.3 ms",
    )


def longest_batch() -> Recomputed:
    """The slowest of ten batches with a known mean: all alike, or nine as fast as the fastest."""
    slowest = Range(FIRST_TEN_MS.low, 10 * FIRST_TEN_MS.high - 9 * MIN_BATCH_MS.low)
    return from_figures(
        claimed=42.3,
        recomputed=slowest,
        unit="ms",
        digits=1,
        formula="the slowest of ten that average 42.3 ms: 42.3 only if all were alike, the one that traces too",
    )


def _cross_entropy(probability: float) -> float:
    """Return the binary cross-entropy of a smoothed label and the probability that a network gives to its side."""
    return -(1 - LABEL_SMOOTHING) * math.log(probability) - LABEL_SMOOTHING * math.log(1 - probability)


def _discriminator_losses(accuracy: float) -> Range:
    """Return the losses that a discriminator of this accuracy can have.

    The least is that of one that gives right sequences their label's own probability, and wrong ones a half.
    """
    right, undecided = _cross_entropy(1 - LABEL_SMOOTHING), _cross_entropy(0.5)
    return Range(2 * (accuracy * right + (1 - accuracy) * undecided), 2 * _cross_entropy(LEAST_PROBABILITY))


def discriminator_loss_of_batch_20() -> Recomputed:
    """The least loss of any discriminator: that of labels smoothed by 0.1 on both sides."""
    formula = "labels smoothed by 0.1 on both sides (the program): no network is below 2 x H(0.1), H = -p ln p - q ln q"
    return from_figures(claimed=0.62, recomputed=_discriminator_losses(1), digits=2, formula=formula)


def discriminator_loss_of_batch_10() -> Recomputed:
    """The least loss of a discriminator that is wrong as often as the same line says."""
    formula = "2 x (0.52 H(0.1) + 0.48 ln 2): right for 52% with labels smoothed by 0.1 (the program), else undecided"
    losses = _discriminator_losses(Range.rounded(0.52, 2).high)
    return from_figures(claimed=0.67, recomputed=losses, digits=2, formula=formula)


def final_accuracy() -> Recomputed:
    """The nearest mean of the accuracies of an epoch's batches, each a share of its sequences."""
    num_judged = TOTAL_BATCHES // EPOCHS * 2 * BATCH_SIZE
    nearest = round(0.8523 * num_judged) / num_judged
    formula = f"the nearest share of {num_judged:,} sequences: 640 / 20 batches of 64 real and 64 fake (the program)"
    return from_figures(claimed=0.8523, recomputed=nearest, digits=4, formula=formula)


def discriminator_interval() -> Recomputed:
    """The documented condition at its default."""
    skipped = sum(batch_idx % D_TRAIN_INTERVAL != 0 for batch_idx in range(100))
    return at_least(
        1, recomputed=skipped, unit="of 100 batches without it", formula="batch_idx % D_TRAIN_INTERVAL, default 1"
    )


STEP_BEFORE = ("tape.gradient", "apply_gradients")
STEP_AFTER = ("tape.gradient", "clip_by_global_norm", "is_nan", "apply_gradients")


def _epochs_with_unchanged_logits() -> int:
    return sum(_temperature(epoch) == TEMP_BEFORE for epoch in range(1, EPOCHS + 1))


def algorithmically_equivalent() -> Recomputed:
    """Count how many of the conditions hold under which the new step equals the old one."""
    holds = {
        "the temperature is 1": _epochs_with_unchanged_logits() == EPOCHS,
        "gradients are not clipped": "clip_by_global_norm" not in STEP_AFTER,
        "the interval is 1": D_TRAIN_INTERVAL == 1,
    }
    missing = " and ".join(name for name, held in holds.items() if not held)
    return counted(
        claimed=len(holds),
        recomputed=sum(holds.values()),
        what="of 3 conditions",
        formula=f"it would need that {missing}",
    )


def loss_functions_unchanged() -> Recomputed:
    """Epochs in which the generator's loss is of the same logits as before."""
    return counted(
        claimed=EPOCHS,
        recomputed=_epochs_with_unchanged_logits(),
        what="of 20 epochs with the same loss",
        formula="logits / temperature enters the loss; the schedule from 2.0 to 0.755 is never 1",
    )


def optimization_unchanged() -> Recomputed:
    """Steps between the gradient and its application."""
    added = [name for name in STEP_AFTER if name not in STEP_BEFORE]
    return counted(claimed=0, recomputed=len(added), what="steps added", formula=f"the code after: {', '.join(added)}")


def output_format_unchanged() -> Recomputed:
    """Fields of the progress line."""
    before = ("G_Loss", "D_Loss", "D_Acc", "Reward")
    after = ("G_Loss", "D_Loss", "D_Acc", "Reward", "ms/batch")
    added = [name for name in after if name not in before]
    return counted(
        claimed=0,
        recomputed=len(added),
        what="new in the progress line",
        formula=f"the progress line after: {', '.join(added)}",
    )


def _names(code: str) -> list[str]:
    return [name.strip() for name in code.split(",")]


def run_the_cells() -> Recomputed:
    """The values that the loop of 000 takes from a step, and those that the step of 002 returns."""
    taken, returned = CALL_IN_CELL_30.partition(" = ")[0], FUNCTIONS_AFTER["train_discriminator_adversarial"][1]
    return counted(
        claimed=len(_names(taken)),
        recomputed=len(_names(returned)),
        what="values of the discriminator's step",
        formula=f"cell 30 unpacks `{taken}` (000), the function returns `{returned}` (002): an error",
    )


def no_breaking_changes() -> Recomputed:
    """The calls before the change on the functions after it."""
    broken = []
    for name, (arguments, taken) in CALLS_BEFORE.items():
        parameters, returned = (_names(code) for code in FUNCTIONS_AFTER[name])
        num_needed = sum("=" not in parameter for parameter in parameters)
        if not num_needed <= len(_names(arguments)) <= len(parameters) or len(_names(taken)) != len(returned):
            broken.append(name)
    return counted(
        claimed=0,
        recomputed=len(broken),
        what="of 2 calls broken",
        formula="the calls of the loop before (002) on the functions after (000, 002): temperature has a default",
    )


def no_tf_function() -> Recomputed:
    """Decorators on the steps that the documents show before the change."""
    decorated = {
        "train_generator_adversarial (000)": True,
        "train_step (001)": True,
        "train_discriminator_adversarial (002)": True,
    }
    return counted(
        claimed=0,
        recomputed=sum(decorated.values()),
        what="of 3 steps decorated before",
        formula='the code before has @tf.function in all; "already present" (000), "already had it" (001)',
    )


def accuracy_on_cpu() -> Recomputed:
    """Operations of the accuracy that are not TensorFlow's."""
    operations = ("tf.reduce_mean", "tf.cast", "tf.reduce_mean", "tf.cast")
    return at_least(
        1,
        recomputed=sum(not name.startswith("tf.") for name in operations),
        unit="of 4 operations outside TensorFlow",
        formula='the accuracy shown; it "was already using TensorFlow ops"',
    )


def no_clipping() -> Recomputed:
    """Names that the new code uses and the list of new parameters lacks."""
    new = {"D_TRAIN_INTERVAL", "TEMP_START", "TEMP_END", "TEMP_DECAY"}
    used = {*new, "GRADIENT_CLIP", "D_STEPS", "ADVERSARIAL_EPOCHS"}
    return counted(
        claimed=0,
        recomputed=sum("CLIP" in name for name in used - new),
        what="of 1 clipping settings older than the change",
        formula="GRADIENT_CLIP is used by the new code and is not among the 4 new parameters: it was set before",
    )


def issues_fixed() -> Recomputed:
    """The six issues, less those of which 000 says itself that nothing changed."""
    issues = {
        ".numpy() in the inner loop": "removed",
        "no @tf.function": "already present",
        "discriminator trained every batch": "currently default to every batch",
        "no gradient clipping": "added",
        "accuracy computed on CPU": "was already using TensorFlow ops",
        "temperature not annealed": "added",
    }
    fixed = [name for name, change in issues.items() if change in {"removed", "added"}]
    return counted(
        claimed=len(issues),
        recomputed=len(fixed),
        what="of 6 fixed",
        formula="two were there already, one stays as it was by default: so says the document",
    )


def fixed_temperature_001() -> Recomputed:
    """The temperature of the step before, as 000 and 002 show it."""
    return from_figures(
        claimed=0.8, recomputed=TEMP_BEFORE, digits=1, formula='"NO TEMPERATURE PARAMETER" (000): logits / 1'
    )


def fixed_temperature_002() -> Recomputed:
    """The temperature of the step before, in the same document."""
    return from_figures(
        claimed=0.8, recomputed=TEMP_BEFORE, digits=1, formula='"No temperature!" in the loop before (002): logits / 1'
    )


CHECKED_WORDS = ("clip_by_global_norm", "is_nan")
DEAD_GUARD = """
def train_discriminator_adversarial(loss, tape):
    gradients = tape.gradient(loss, discriminator.trainable_variables)
    if False:
        gradients, grad_norm = tf.clip_by_global_norm(gradients, GRADIENT_CLIP)
        has_nan = tf.reduce_any(tf.math.is_nan(gradients))
    optimizer_d.apply_gradients(zip(gradients, discriminator.trainable_variables))
"""


def verification_of_dead_code() -> Recomputed:
    """The documented check on a step whose guard never runs."""
    passing = sum(word in DEAD_GUARD for word in CHECKED_WORDS)
    return counted(
        claimed=0,
        recomputed=passing,
        what="of 2 assertions pass on a guard that never runs",
        formula="the words stand in the source under `if False:`",
    )


def verification_coverage() -> Recomputed:
    """Which of the six changes the documented check looks at."""
    checked_by = {
        ".numpy() in loop": (),
        "@tf.function": (),
        "D training": ("D_TRAIN_INTERVAL",),
        "gradient clipping": CHECKED_WORDS,
        "accuracy on CPU": (),
        "temperature": ("TEMP_START", "TEMP_DECAY"),
    }
    unchecked = [name for name, words in checked_by.items() if not words]
    return counted(
        claimed=len(checked_by),
        recomputed=len(checked_by) - len(unchecked),
        what="of 6 checked",
        formula=f"no assertion about {', '.join(unchecked)}",
    )


# --- Document 003: text to image --------------------------------------------------------------------------------------

PIXELS_BEFORE, PIXELS_AFTER = 64 * 64, 32 * 32
EPOCHS_BEFORE, EPOCHS_AFTER = 250, 100
FACTORS = {
    "epochs": Range.of(EPOCHS_BEFORE / EPOCHS_AFTER),
    "batch": Range.of(2),
    "resolution": Range.of(4),
    "mixed precision": Range(1.5, 2),
    "logging": Range(1.05, 1.10),  # "5-10%", read as a rate
}
COMBINED = Range(8, 12)


def fewer_epochs() -> Recomputed:
    """100 epochs instead of 250."""
    share = 100 * (1 - EPOCHS_AFTER / EPOCHS_BEFORE)
    return from_figures(claimed=60, recomputed=share, unit="%", formula="1 - 100 / 250")


def fewer_pixels() -> Recomputed:
    """32x32 pixels instead of 64x64."""
    return from_figures(claimed=4, recomputed=PIXELS_BEFORE / PIXELS_AFTER, unit="x", formula="64 x 64 / (32 x 32)")


def memory_per_image() -> Recomputed:
    """A quarter of the pixels."""
    share = 100 * (1 - PIXELS_AFTER / PIXELS_BEFORE)
    return from_figures(claimed=75, recomputed=share, unit="%", formula="1 - 1,024 / 4,096")


def combined_of_all() -> Recomputed:
    """All five factors."""
    formula = "2.5 (epochs) x 2 (batch) x 4 (resolution) x 1.5-2 (mixed precision) x 1.05-1.1 (logging)"
    return from_figures(claimed=COMBINED, recomputed=product(FACTORS.values()), unit="x", formula=formula)


def combined_without_epochs() -> Recomputed:
    """All factors of the time of an epoch."""
    factors = [factor for name, factor in FACTORS.items() if name != "epochs"]
    formula = "as fast per epoch: 2 (batch) x 4 (resolution) x 1.5-2 (mixed precision) x 1.05-1.1 (logging)"
    return from_figures(claimed=COMBINED, recomputed=product(factors), unit="x", formula=formula)


def combined_of_same_work() -> Recomputed:
    """The two factors that leave the images, their size, the epochs and the updates alone."""
    factors = [FACTORS["mixed precision"], FACTORS["logging"]]
    formula = "the same work faster: 1.5-2 (mixed precision) x 1.05-1.1 (logging)"
    return from_figures(claimed=COMBINED, recomputed=product(factors), unit="x", formula=formula)


def combined_of_any() -> Recomputed:
    """Every selection of the five factors."""
    selections = [names for size in range(1, len(FACTORS) + 1) for names in combinations(FACTORS, size)]
    given = [
        from_figures(claimed=COMBINED, recomputed=product(FACTORS[name] for name in names), formula="-").consistent
        for names in selections
    ]
    return at_least(
        1,
        recomputed=sum(given),
        unit=f"of {len(selections)} selections",
        formula="selections of the five factors whose product spans 8-12x",
    )


def data_pipeline() -> Recomputed:
    """Changes that set anything of the data loader."""
    changes = {
        "num_epochs": "reduced epochs",
        "batch_size": "increased batch size",
        "transforms.Resize": "reduced image resolution",
        "log_interval": "logging frequency",
        "autocast, GradScaler": "mixed precision",
        "try/except": "error handling",
    }
    pipeline = {"num_workers", "pin_memory", "prefetch_factor", "persistent_workers"}
    return at_least(
        1,
        recomputed=len(pipeline & set(changes)),
        unit="of 6 changes",
        formula="none sets the loader's workers, prefetching or pinning; num_workers stands under future optimizations",
    )


# --- Document 004: the tabular regressor ------------------------------------------------------------------------------

SIGNATURES = {
    "load_state_dict_safely": "file_path, device",
    "load_and_preprocess_data": "file_path='training_data.h5'",
    "setup_training": "X, Y, batch_size=32, val_split=0.1, test_split=0.1",
    "train_model": "train_loader, val_loader, test_loader, input_dim, output_dim, ...",
    "plot_losses": 'train_losses, val_losses, model_name="improved_model"',
    "plot_predictions": 'model, val_loader, output_dim, stride=10, model_name="improved_model"',
    "extract_final_predictions": "model_output, output_dim",
}
# of the published program: the text names both as well, "with configurable `num_workers`" and "config=config"
GAINED = {"setup_training": "num_workers=4", "train_model": "config=None"}
FILES_AFTER = (
    "improved_model_best_model.pth",
    "improved_model_config.json",
    "improved_model_training.log",
    "improved_model_loss_analysis.png",
    "improved_model_predictions.png",
    "improved_model_checkpoint_*.pth",
)
# of the program before: its best weights, a checkpoint every 50 epochs, and the plots of two of the seven functions
FILES_BEFORE = (
    "improved_model_best_model.pth",
    "improved_model_loss_analysis.png",
    "improved_model_predictions.png",
    "improved_model_checkpoint_*.pth",
)
UNASKED = (
    "Training progress is automatically logged",
    "Automatic logging of training statistics",
    "OOM error handling with automatic memory clearing",
    "The optimized training script now generates additional files",
)


def signatures_preserved() -> Recomputed:
    """Count the listed functions whose parameters the program after the change has others of."""
    after = {name: ", ".join(filter(None, (listed, GAINED.get(name)))) for name, listed in SIGNATURES.items()}
    changed = [name for name, listed in SIGNATURES.items() if after[name] != listed]
    gained = " and ".join(f"{name} gained {GAINED[name]}" for name in changed)
    return counted(
        claimed=0,
        recomputed=len(changed),
        what="signatures changed",
        formula=f"of the 7 listed functions {gained} (the program after); the document says that all take more",
    )


def backward_compatible() -> Recomputed:
    """Count the files that an unchanged call writes now and did not write before."""
    new = [name for name in FILES_AFTER if name not in FILES_BEFORE]
    return counted(
        claimed=0,
        recomputed=len(new),
        what="files that were not written before",
        formula=f"of the 6 listed as additional, {' and '.join(new)}: the program before wrote the other 4",
    )


def defaults_unchanged() -> Recomputed:
    """Count the features that are active without opting in, by the document's own words."""
    return counted(
        claimed=0,
        recomputed=len(UNASKED),
        what="features active without opting in",
        formula="logs, statistics, memory clearing and files come automatically",
    )
