"""Sides of the dialogue GAN that are no single phase, its samplers alone, and faults for its gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from bench.harness.side import Side


@dataclass
class PhasesSide(Side):
    """A side one call of which trains batches of all three phases.

    Attributes:
        num_batches: of each phase.
    """

    num_batches: tuple[int, int, int] = (5, 3, 20)

    def __call__(self) -> None:
        """Train them, phase by phase."""
        for phase, num_batches in zip(self.trainer.phases, self.num_batches, strict=True):
            self.trainer.train_steps(num_batches, phase)

    def next_losses(self, num_steps: int) -> list[tuple[float, ...]]:
        """Take steps of every phase from the trainer's position and return their losses, phase by phase."""
        return [losses for phase in self.trainer.phases for losses in self.next_losses_of(phase, num_steps)]


def twin_side(label: str, *arguments: Any, kind: Callable[..., Side] = Side) -> Side:
    """Return a side, of a kind, that its rows cannot take for TensorFlow's."""
    return kind(f"PyTorch twin: {label}", *arguments)


def poisoned_steps(trainer: Any, phase: str, value: float) -> None:
    """Train three steps, in the second of which a value is added to every gradient."""
    import tensorflow as tf  # noqa: PLC0415 - a machine without it must still collect the tests

    poison = tf.Variable(0.0)
    real = tf.GradientTape.gradient

    def poisoned(tape: Any, *arguments: Any, **options: Any) -> Any:
        return [tf.convert_to_tensor(gradient) + poison for gradient in real(tape, *arguments, **options)]

    # While the graphs are traced, in the first step, the poison becomes part of them.
    with patch.object(tf.GradientTape, "gradient", poisoned):
        for added in (0.0, value, 0.0):
            poison.assign(added)
            trainer.train_steps(1, phase)


def weights_are_finite(trainer: Any) -> bool:
    """Return whether no weight of either network is NaN or infinite."""
    import numpy as np  # noqa: PLC0415 - a machine without it must still collect the tests

    state = trainer.state()
    return all(np.isfinite(array).all() for name in ("generator", "discriminator") for array in state[name].values())


def decoder(trainer: Any, num_tokens: int, *, incremental: bool) -> Callable[[], Any]:
    """Return what draws one batch of fake sequences (B, T), of the first batch's speakers and scenes.

    Args:
        trainer: whose generator draws.
        num_tokens: T.
        incremental: in a graph that carries the states along, as the fastest tier; or, as the reference, every prefix
            from its beginning, operation by operation.
    """
    import tensorflow as tf  # noqa: PLC0415 - a machine without it must still collect the tests

    from trainers.dialogue_gan.model import sample_sequences, seed_words  # noqa: PLC0415 - the same
    from trainers.dialogue_gan.recurrence import incremental_sequences  # noqa: PLC0415 - the same

    config = trainer.config
    batch = next(trainer.data.batches_of_epoch(config.batch_size, trainer.seed, 0))
    characters, scenes, seed = tf.constant(batch.characters_B), tf.constant(batch.scenes_B), seed_words(trainer.seed)
    draw = incremental_sequences if incremental else sample_sequences

    def call() -> Any:
        return draw(trainer.generator, characters, scenes, num_tokens, config.sampler_temperature, seed)

    graph = tf.function(call) if incremental else call
    return lambda: graph().numpy()
