"""The dialogue GAN's training as the authors of documents 000 to 002 published it, defects included.

It is the optimized tier with what their program does otherwise, a switch each. With these switches off it is the
optimized tier. Their notebook's cells do not run as they were published (docs/suite.md); this is what they do once they
run.

Shape suffixes: B sequences of a batch, T tokens, 2 the two words of a seed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from trainers.dialogue_gan.config import PUBLISHED_SWITCHES, SWITCHES, DialogueConfig
from trainers.dialogue_gan.data import Batch, DialogueData
from trainers.dialogue_gan.optimized import OptimizedTrainer
from trainers.switches import resolve

__all__ = ["PublishedTrainer"]


class PublishedTrainer(OptimizedTrainer):
    """The training of the published program, each of its defects behind a switch.

    Args:
        config: sizes and hyperparameters.
        data: sequences with what the tokens, characters and scenes mean.
        device: TensorFlow's name of where the networks live.
        seed: of the weights, the order of the batches, dropout and the fakes.
        switches: what is on; a switch not named here is on, `graph_steps` as the configuration says.
        log: takes the lines that the documents print.

    """

    shares_batches = False

    def __init__(  # noqa: PLR0913 - the optimized tier's
        self,
        config: DialogueConfig,
        data: DialogueData,
        *,
        device: str,
        seed: int,
        switches: Mapping[str, bool] | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        """Bind every switch once; from then on nothing asks for them."""
        on = resolve(PUBLISHED_SWITCHES, {"graph_steps": not config.eager, **(switches or {})})

        # --- The switches of the defects, bound here and read nowhere else ---
        self._guards_pretraining = not on["guards_adversarial_phase_only"]
        self._asks_for_length = on["sampler_asks_for_length"]
        self._fetches_apart = on["fetches_one_by_one"]
        # --- End of the switches ---

        documented = {switch.name: on[switch.name] for switch in SWITCHES}
        super().__init__(config, data, device=device, seed=seed, switches=documented, log=log)
        self.switches = on

    def compile_steps(self) -> None:
        """Compile the optimized tier's train steps and the discriminator's of its pre-training."""
        super().compile_steps()
        tokens_BT = tf.TensorSpec((None, self.config.sequence_length), tf.int32)
        seed_2 = tf.TensorSpec((2,), tf.int64)
        step = self._compiled(self.pretrain_discriminator_step, [tokens_BT, tokens_BT, seed_2, seed_2])
        self._graphs = (*self._graphs, step)
        self._pretrain_discriminator_step = self._noting("discriminator", step)

    def pretrain_generator_step(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Update the generator towards the sequences, guarded only if that defect is off."""
        with self._in_pretraining():
            return OptimizedTrainer.pretrain_generator_step(self, tokens_BT, characters_B, scenes_B, seed_2)

    def pretrain_discriminator_step(
        self, real_BT: tf.Tensor, fake_BT: tf.Tensor, real_seed_2: tf.Tensor, fake_seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Update the discriminator in its pre-training, guarded only if that defect is off."""
        with self._in_pretraining():
            return self.discriminator_step(real_BT, fake_BT, real_seed_2, fake_seed_2)

    @contextmanager
    def _in_pretraining(self) -> Iterator[None]:
        """Apply updates as in pre-training while the block runs, or is traced."""
        guarded = self._apply
        self._apply = guarded if self._guards_pretraining else self._apply_always
        try:
            yield
        finally:
            self._apply = guarded

    def pretrain_discriminator_batch(self, batch: Batch) -> None:
        """Pre-train the discriminator on one batch and fakes made for it, by the step of its pre-training."""
        adversarial = self._discriminator_step
        self._discriminator_step = self._pretrain_discriminator_step
        try:
            super().pretrain_discriminator_batch(batch)
        finally:
            self._discriminator_step = adversarial

    def _fetched_together(self, scalars: Sequence[tf.Tensor]) -> list[Any]:
        # Whether an update was applied is what these trainers count, not the published program.
        if self._fetches_apart and scalars[0].dtype != tf.bool:
            return [float(scalar.numpy()) for scalar in scalars]
        return super()._fetched_together(scalars)

    def _num_tokens(self) -> Any:
        length = super()._num_tokens()
        return tf.constant(length) if self._asks_for_length else length
