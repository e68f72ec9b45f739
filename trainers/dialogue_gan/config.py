"""Configuration, presets and switches of the dialogue GAN. Imports no framework."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

import attrs

from trainers.common.configuration import Configuration, setting
from trainers.contract import BadInput
from trainers.switches import KEPT_MEMORY, Switch

__all__ = [
    "FASTEST_SWITCHES", "PHASES", "PRESETS", "PUBLISHED_SWITCHES", "SWITCHES", "TWIN_OPTIMIZED_SWITCHES",
    "TWIN_SWITCHES", "DialogueConfig",
]  # fmt: skip

PHASES = ("generator_pretraining", "discriminator_pretraining", "adversarial")
"""The phases of a training, in their order."""

_DEFERRED_METRICS = Switch(
    "deferred_metrics",
    "losses and rewards stay on the device and are fetched once an epoch",
)
_DEVICE_ACCURACY = Switch(
    "device_accuracy",
    "the discriminator's accuracy stays on the device and is fetched once an epoch",
)
_DISCRIMINATOR_INTERVAL = Switch(
    "discriminator_interval",
    "the discriminator is trained every d_train_interval batches only, and fakes are made only then",
    parity="statistical",
    work="different",
    neutral_when="d_train_interval is 1",
)
_GLOBAL_NORM_CLIPPING = Switch(
    "global_norm_clipping",
    "all gradients of a network together are clipped to the norm gradient_clip",
    parity="statistical",
    neutral_when="no step's norm reaches gradient_clip",
)
_NAN_SKIP = Switch(
    "nan_skip",
    "an update whose gradients or their norm are not finite is left out; does nothing while all are finite",
)
_TEMPERATURE_SCHEDULE = Switch(
    "temperature_schedule",
    "the generator's logits are divided by a temperature that falls from epoch to epoch",
    parity="statistical",
    work="different",
    neutral_when="temp_start and temp_end are 1",
)
_PYTHON_FLOAT_TEMPERATURE = Switch(
    "python_float_temperature",
    "the documents' own way to pass the temperature, by which graphs are traced anew every epoch",
    parity="close",
    default=False,
)

SWITCHES = (
    _DEFERRED_METRICS,
    _DEVICE_ACCURACY,
    Switch(
        "graph_steps",
        "train steps are compiled into graphs (tf.function) instead of running operation by operation",
        parity="close",
    ),
    _DISCRIMINATOR_INTERVAL,
    _GLOBAL_NORM_CLIPPING,
    _NAN_SKIP,
    _TEMPERATURE_SCHEDULE,
    _PYTHON_FLOAT_TEMPERATURE,
)
"""What documents 000 to 002 add to the reference, in the order of document 000's list."""

PUBLISHED_SWITCHES = (
    *(replace(switch, default=True) for switch in SWITCHES),
    Switch(
        "guards_adversarial_phase_only",
        "updates of both pre-trainings are applied whether or not their gradients are finite; does nothing while they "
        "are",
    ),
    Switch(
        "sampler_asks_for_length",
        "the sampler asks the device for the length of its sequences at every batch, as in the program before",
    ),
    Switch(
        "fetches_one_by_one",
        "figures that stayed on the device are fetched at the end of the epoch by a transfer each",
    ),
)
"""The documents' changes as the published program has them, then its defects."""

_INCREMENTAL_DECODING = Switch(
    "incremental_decoding",
    "the sampler carries the LSTMs' states from token to token instead of running every prefix from its beginning",
    parity="close",
)
_JOINED_DISCRIMINATOR = Switch(
    "joined_discriminator",
    "the discriminator judges real and fake sequences in one pass over both",
    parity="close",
)

FASTEST_SWITCHES = (
    Switch(
        "compiled_step",
        "all that is done with a batch, the fakes too, is one graph; without, the sampler runs operation by operation",
        parity="close",
    ),
    _INCREMENTAL_DECODING,
    Switch(
        "hoisted_products",
        "an LSTM's products that do not depend on the token before are one product over all tokens, gradients too",
        parity="close",
    ),
    _JOINED_DISCRIMINATOR,
    Switch(
        "batched_calls",
        "steps_per_call batches are trained in one call, and their figures come back in one transfer",
        parity="close",
    ),
)
"""What the fastest tier adds to the reference: the same work and mathematics."""

TWIN_OPTIMIZED_SWITCHES = (
    _DEFERRED_METRICS,
    _DEVICE_ACCURACY,
    Switch(
        "compiled_steps",
        "train steps are compiled by torch.compile instead of running operation by operation; on with a compiler",
        parity="close",
    ),
    _DISCRIMINATOR_INTERVAL,
    _GLOBAL_NORM_CLIPPING,
    _NAN_SKIP,
    _TEMPERATURE_SCHEDULE,
    _PYTHON_FLOAT_TEMPERATURE,
)
"""Switches of the twin's optimized tier: the mechanisms of documents 000 to 002 in PyTorch."""

TWIN_SWITCHES = (
    _INCREMENTAL_DECODING,
    Switch(
        "merged_products",
        "the sampler multiplies an LSTM's output once a token, by all weights that it meets; what token ids add to the "
        "first LSTM's gates is a table; nothing without incremental_decoding",
        parity="close",
    ),
    Switch(
        "compiled_sampler",
        "what the sampler does between two products is one compiled kernel; on with CUDA, nothing without "
        "merged_products",
        parity="close",
    ),
    _JOINED_DISCRIMINATOR,
    Switch(
        "foreach_optimizer",
        "every operation of an Adam update runs over all weights of a network at once",
        parity="close",
    ),
    Switch(
        "bfloat16",
        "the product that makes the logits of a whole batch in bfloat16; on with CUDA where that multiplies it",
        parity="close",
        rtol=5e-3,
    ),
    KEPT_MEMORY,
    Switch(
        "deferred_metrics",
        "losses, accuracy and reward stay on the device and are fetched once a call; on with CUDA",
    ),
    Switch(
        "cuda_graphs",
        "all that is done with a batch, the fakes too, is captured once and replayed; on with CUDA, nothing elsewhere",
        parity="close",
    ),
)
"""What the twin's fastest tier adds to its reference: the same work and mathematics."""

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "tiny": {
        "vocabulary_size": 40, "embedding_size": 8, "hidden_size": 8, "condition_size": 2, "sequence_length": 6,
        "batch_size": 4, "num_filters": 2, "num_lines": 6, "num_characters": 3, "num_scenes": 4, "num_words": 60,
        "pretraining_epochs_g": 2, "pretraining_epochs_d": 1, "adversarial_epochs": 2,
    },
    "smoke": {
        "vocabulary_size": 300, "embedding_size": 32, "hidden_size": 64, "condition_size": 8, "sequence_length": 20,
        "batch_size": 16, "num_filters": 16, "num_lines": 20, "num_characters": 6, "num_scenes": 8, "num_words": 400,
        "pretraining_epochs_g": 2, "pretraining_epochs_d": 1, "adversarial_epochs": 2,
    },
    "default": {},
})  # fmt: skip
"""Values that differ from the original program's, by preset."""


@attrs.frozen
class DialogueConfig(Configuration):
    """Hold every size and hyperparameter of the family; the defaults are those of the original program.

    The documents write some names in capitals (TEMP_START, D_TRAIN_INTERVAL); `replace` takes those too.

    """

    num_lines: int = setting(2_000, "lines of dialogue in the offline data, not in a user's own file", ge=1)
    num_characters: int = setting(14, "speakers in the offline data", ge=1)
    num_scenes: int = setting(41, "scenes in the offline data", ge=1)
    num_words: int = setting(6_000, "different words in the offline data's grammar", ge=20)
    data_seed: int = setting(0, "seed of the offline data", ge=0)
    split_seed: int = setting(42, "seed of the augmentation and of the split", ge=0)
    val_split: float = setting(0.15, "fraction of the sequences for validation", gt=0, lt=1)
    augmentation: float = setting(0.05, "fraction of the tokens set to 0 in each sequence's second copy", ge=0, lt=1)
    vocabulary_size: int = setting(5_000, "token ids V, padding (0) and `<UNK>` (1) among them", ge=3)
    embedding_size: int = setting(256, "size of a token's embedding in both networks", ge=1)
    condition_size: int = setting(32, "size of a character's and of a scene's embedding", ge=1)
    # Without, both embeddings are zeros.
    conditional: bool = setting(True, "whether the generator is conditioned on speaker and scene")
    hidden_size: int = setting(512, "units of each LSTM", ge=1)
    sequence_length: int = setting(50, "tokens T of a sequence", ge=2)
    num_filters: int = setting(64, "filters of each of the discriminator's convolutions", ge=1)
    dropout: float = setting(0.3, "probability of zeroing an activation", ge=0, lt=1)
    batch_size: int = setting(64, "sequences of a step", ge=1)
    pretraining_epochs_g: int = setting(5, "epochs of the generator's pre-training", ge=0)
    pretraining_epochs_d: int = setting(3, "epochs of the discriminator's pre-training", ge=0)
    adversarial_epochs: int = setting(20, "epochs of the adversarial phase", ge=0)
    learning_rate_g: float = setting(1e-4, "learning rate of the generator's Adam", gt=0)
    learning_rate_d: float = setting(1e-4, "learning rate of the discriminator's Adam", gt=0)
    clipnorm: float = setting(1.0, "limit of the norm of each variable's gradient, in both Adams", gt=0)
    label_smoothing: float = setting(0.1, "distance of the discriminator's targets from 0 and 1", ge=0, lt=0.5)
    d_steps: int = setting(1, "discriminator updates per batch", ge=1)
    g_steps: int = setting(1, "generator updates per batch", ge=1)
    sampler_temperature: float = setting(1.0, "temperature of the fake sequences", gt=0)
    sample_temperature: float = setting(0.8, "temperature of the sample that is printed", gt=0)
    sample_every: int = setting(5, "adversarial epochs between two printed samples", ge=1)
    # In the optimized tier it decides the default of the switch `graph_steps`; in the fastest it counts only without
    # `compiled_step`. In the twin in PyTorch only the reference reads it.
    eager: bool = setting(False, "whether the train steps run operation by operation")
    steps_per_call: int = setting(8, "batches that the fastest tier trains in one call, under `batched_calls`", ge=1)
    d_train_interval: int = setting(1, "batches per discriminator update, under `discriminator_interval`", ge=1)
    gradient_clip: float = setting(
        1.0, "limit of all gradients' norm, under `global_norm_clipping`", gt=0, infinite=True
    )
    temp_start: float = setting(2.0, "temperature of the first adversarial epoch, under `temperature_schedule`", gt=0)
    temp_end: float = setting(0.5, "lowest temperature", gt=0)
    temp_decay: float = setting(0.95, "factor of the temperature from one epoch to the next", gt=0, le=1)
    max_consecutive_skips: int = setting(50, "updates left out in a row after which `nan_skip` ends the training", ge=1)

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __attrs_post_init__(self) -> None:
        """Refuse a temperature that would rise.

        Raises:
            BadInput: it would, by name.

        """
        if self.temp_end > self.temp_start:
            what = f"temp_end {self.temp_end!r} is above temp_start {self.temp_start!r}"
            raise BadInput(what, "configuration", "let the temperature fall, or make both the same")

    def replace(self, /, **changes: Any) -> Self:
        """Copy with some values changed; a name may also be written in capitals, as the documents write theirs.

        Raises:
            BadInput: a key that the configuration does not have or that is given twice, or a value it refuses.

        """
        plain: dict[str, Any] = {}
        for key, value in changes.items():
            name = key.lower() if key.isupper() else key
            if name in plain:
                raise BadInput(f"{name} is given twice", "configuration", f"leave out {name} or {name.upper()}")
            plain[name] = value
        return super().replace(**plain)

    def num_epochs(self, phase: str) -> int:
        """Return the epochs of one of the `PHASES`."""
        return (self.pretraining_epochs_g, self.pretraining_epochs_d, self.adversarial_epochs)[PHASES.index(phase)]
