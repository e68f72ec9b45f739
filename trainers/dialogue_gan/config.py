"""Configuration, presets and switches of the dialogue GAN. Imports no framework."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self

from trainers.common.configuration import Bounds, Configuration
from trainers.contract import BadInput
from trainers.switches import Switch

__all__ = [
    "FASTEST_SWITCHES", "PHASES", "PRESETS", "SWITCHES", "TIERS", "TWIN_OPTIMIZED_SWITCHES", "TWIN_SWITCHES",
    "TWIN_TIERS", "DialogueConfig",
]  # fmt: skip

TIERS = ("reference", "optimized", "fastest")
"""The tiers that exist, slowest first."""

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

TWIN_TIERS = ("reference", "optimized", "fastest")
"""The tiers of the twin in PyTorch, slowest first."""

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


@dataclass(frozen=True)
class DialogueConfig(Configuration):
    """Every size and hyperparameter of the family; the defaults are those of the original program.

    The documents write some names in capitals (TEMP_START, D_TRAIN_INTERVAL); `replace` takes those too.

    Attributes:
        num_lines: lines of dialogue in the offline data; a user's own file has its own number.
        num_characters: speakers in the offline data.
        num_scenes: scenes in the offline data.
        num_words: different words in the offline data's grammar.
        data_seed: seed of the offline data.
        split_seed: seed of the augmentation and of the split, apart from the training's.
        val_split: fraction of the sequences for validation.
        augmentation: fraction of the tokens that are set to 0 in the second copy of every sequence.
        vocabulary_size: token ids V, padding (0) and `<UNK>` (1) among them.
        embedding_size: of a token, in both networks.
        condition_size: of a character's and of a scene's embedding.
        conditional: whether the generator is conditioned on speaker and scene; without, both embeddings are zeros.
        hidden_size: of either LSTM.
        sequence_length: tokens T of a sequence.
        num_filters: of each of the discriminator's convolutions.
        dropout: probability of zeroing an activation, in [0, 1).
        batch_size: sequences a step.
        pretraining_epochs_g: epochs of the generator's pre-training.
        pretraining_epochs_d: epochs of the discriminator's pre-training.
        adversarial_epochs: epochs of the adversarial phase.
        learning_rate_g: of the generator's Adam.
        learning_rate_d: of the discriminator's Adam.
        clipnorm: of both Adams: limit of the norm of every variable's gradient by itself.
        label_smoothing: how far the discriminator's targets stay from 0 and 1.
        d_steps: discriminator updates a batch.
        g_steps: generator updates a batch.
        sampler_temperature: of the fake sequences.
        sample_temperature: of the sample that is printed.
        sample_every: adversarial epochs between two printed samples.
        eager: whether the train steps run operation by operation; in the optimized tier it decides the default of the
            switch `graph_steps`, in the fastest it counts only without `compiled_step`. Of the twin in PyTorch only
            the reference reads it.
        steps_per_call: batches that the fastest tier trains in one call, under `batched_calls`.
        d_train_interval: batches between two that train the discriminator, under `discriminator_interval`.
        gradient_clip: limit of the norm of all gradients together, under `global_norm_clipping`.
        temp_start: temperature of the first adversarial epoch, under `temperature_schedule`.
        temp_end: what the temperature never falls below.
        temp_decay: factor of the temperature from one epoch to the next.
        max_consecutive_skips: updates left out in a row, after which `nan_skip` ends the training.

    """

    num_lines: int = 2_000
    num_characters: int = 14
    num_scenes: int = 41
    num_words: int = 6_000
    data_seed: int = 0
    split_seed: int = 42
    val_split: float = 0.15
    augmentation: float = 0.05
    vocabulary_size: int = 5_000
    embedding_size: int = 256
    condition_size: int = 32
    conditional: bool = True
    hidden_size: int = 512
    sequence_length: int = 50
    num_filters: int = 64
    dropout: float = 0.3
    batch_size: int = 64
    pretraining_epochs_g: int = 5
    pretraining_epochs_d: int = 3
    adversarial_epochs: int = 20
    learning_rate_g: float = 1e-4
    learning_rate_d: float = 1e-4
    clipnorm: float = 1.0
    label_smoothing: float = 0.1
    d_steps: int = 1
    g_steps: int = 1
    sampler_temperature: float = 1.0
    sample_temperature: float = 0.8
    sample_every: int = 5
    eager: bool = False
    steps_per_call: int = 8
    d_train_interval: int = 1
    gradient_clip: float = 1.0
    temp_start: float = 2.0
    temp_end: float = 0.5
    temp_decay: float = 0.95
    max_consecutive_skips: int = 50

    BOUNDS: ClassVar[Mapping[str, Bounds]] = {
        **dict.fromkeys(("pretraining_epochs_g", "pretraining_epochs_d", "adversarial_epochs"), Bounds(least=0)),
        **dict.fromkeys(("data_seed", "split_seed"), Bounds(least=0)),
        **dict.fromkeys(("num_lines", "num_characters", "num_scenes"), Bounds(least=1)),
        **dict.fromkeys(("embedding_size", "condition_size", "hidden_size", "num_filters"), Bounds(least=1)),
        **dict.fromkeys(("batch_size", "d_steps", "g_steps", "sample_every", "steps_per_call"), Bounds(least=1)),
        **dict.fromkeys(("d_train_interval", "max_consecutive_skips"), Bounds(least=1)),
        **dict.fromkeys(("learning_rate_g", "learning_rate_d", "clipnorm"), Bounds(above=0)),
        **dict.fromkeys(("temp_start", "temp_end"), Bounds(above=0)),
        **dict.fromkeys(("sampler_temperature", "sample_temperature"), Bounds(above=0)),
        **dict.fromkeys(("augmentation", "dropout"), Bounds(least=0, below=1)),
        "temp_decay": Bounds(above=0),
        "gradient_clip": Bounds(above=0, may_be_infinite=True),
        "label_smoothing": Bounds(least=0, below=0.5),
        "num_words": Bounds(least=20),
        "sequence_length": Bounds(least=2),
        "val_split": Bounds(above=0, below=1),
        "vocabulary_size": Bounds(least=3),
    }
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __post_init__(self) -> None:
        """Refuse values that no training could use.

        Raises:
            BadInput: a value of the wrong type or out of its range, by name.

        """
        super().__post_init__()
        if self.temp_decay > 1:
            raise BadInput(f"temp_decay is {self.temp_decay!r}", "configuration", "make it at most 1")
        if self.temp_end > self.temp_start:
            what = f"temp_end {self.temp_end!r} is above temp_start {self.temp_start!r}"
            raise BadInput(what, "configuration", "let the temperature fall, or make both the same")

    def replace(self, /, **changes: Any) -> Self:
        """Copy with some values changed; a name may also be written in capitals, as the documents write theirs.

        Raises:
            BadInput: a key that the configuration does not have or that is there twice, or a value it refuses.

        """
        plain: dict[str, Any] = {}
        for key, value in changes.items():
            name = key.lower() if key.isupper() else key
            if name in plain:
                raise BadInput(f"{name} stands there twice", "configuration", f"leave out {name} or {name.upper()}")
            plain[name] = value
        return super().replace(**plain)

    def num_epochs(self, phase: str) -> int:
        """Epochs of one of the `PHASES`."""
        return (self.pretraining_epochs_g, self.pretraining_epochs_d, self.adversarial_epochs)[PHASES.index(phase)]
