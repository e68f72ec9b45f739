"""The dialogue GAN's training as `trainers.dialogue_gan.reference` has it, in PyTorch as one writes it at first.

Naive on purpose, a line per switch of the fastest tier; for those of the optimized tier see that module:

- `incremental_decoding`: every token of a fake sequence takes a forward pass over the whole prefix.
- `merged_products`: an LSTM's input and its output before are multiplied apart.
- `compiled_sampler`: the sampler runs operation by operation.
- `joined_discriminator`: the discriminator sees real and fake sequences one after the other.
- `foreach_optimizer`: weight after weight is updated.
- `bfloat16`: everything is multiplied as PyTorch multiplies by default.
- `deferred_metrics`: `.item()` on both losses, the accuracy and the reward after every batch.
- `cuda_graphs`: one kernel after the other, from Python.

Shape suffixes: B sequences of a batch, T tokens, V token ids, N numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.common.seeds import derived_seed
from trainers.dialogue_gan.config import PHASES, DialogueConfig
from trainers.dialogue_gan.data import Batch, DialogueData
from trainers.dialogue_gan.phased_trainer import BATCHES_PER_LINE, PhasedTrainer, batch_line, num_updates
from trainers.dialogue_gan.pytorch.draws import DiscriminatorDraws, Draws, GeneratorDraws, num_uniforms, split
from trainers.dialogue_gan.pytorch.model import (
    Discriminator,
    Generator,
    discriminator_loss,
    policy_loss,
    policy_rewards,
    target_log_probabilities,
    teacher_forcing_loss,
)
from trainers.dialogue_gan.pytorch.optimizer import KerasAdam
from trainers.dialogue_gan.pytorch.sampling import sample_sequences
from trainers.dialogue_gan.pytorch.weights import initial_values, keras_values, set_keras_values
from trainers.pytorch.compiling import compile_each_size
from trainers.pytorch.ranks import Ranks

__all__ = ["Inputs", "ReferenceTrainer", "updated"]


class Inputs(NamedTuple):
    """A batch on the device."""

    tokens_BT: Tensor
    characters_B: Tensor
    scenes_B: Tensor


class ReferenceTrainer(PhasedTrainer):
    """Trains a generator, then a discriminator, then both against each other; its state is that of the TensorFlow one.

    The numbers of a batch are drawn on the device from a seed made of the training's seed, the phase, the epoch and the
    step: PyTorch's, so not those that TensorFlow draws. A CPU and a GPU draw different ones.

    Args:
        config: sizes and hyperparameters.
        data: sequences with what the tokens, characters and scenes mean.
        device: where the networks live.
        seed: of the weights, the order of the batches, dropout and the fakes.
        log: takes the lines that the original prints.
        ranks: which train together, each on its sequences of every batch; this process alone without them.

    """

    optimizer_kind: Callable[..., KerasAdam] = KerasAdam

    def __init__(  # noqa: PLR0913 - all but the first two are keywords
        self,
        config: DialogueConfig,
        data: DialogueData,
        *,
        device: torch.device,
        seed: int,
        log: Callable[[str], None] = print,
        ranks: Ranks | None = None,
    ) -> None:
        """Draw the weights with NumPy, so that they are the same on every device."""
        self.ranks = ranks or Ranks()
        self.ranks.check_batch_size(config.batch_size)
        super().__init__(config, data, seed=seed, log=log if self.ranks.is_first else lambda _: None)
        self.device = device
        self.generator = Generator(config, len(data.characters), len(data.scenes)).to(device)
        self.discriminator = Discriminator(config).to(device)
        set_keras_values(self.generator, initial_values(self.generator, derived_seed(seed, 0)))
        set_keras_values(self.discriminator, initial_values(self.discriminator, derived_seed(seed, 1)))
        self.generator_network = self.ranks.parallel(self.generator)
        self.discriminator_network = self.ranks.parallel(self.discriminator)
        make = self.optimizer_kind
        self.generator_optimizer = make(self.generator, "generator", config.learning_rate_g, config.clipnorm)
        self.discriminator_optimizer = make(
            self.discriminator, "discriminator", config.learning_rate_d, config.clipnorm
        )
        self._random = torch.Generator(device)
        self.compile_steps()

    def compile_steps(self) -> None:
        """Compile the train steps, unless they run operation by operation."""
        if self.config.eager or self.ranks.is_parallel:
            self._pretrain_generator_step = self.pretrain_generator_step
            self._discriminator_step = self.discriminator_step
            self._generator_step = self.generator_step
        else:
            self._pretrain_generator_step = compile_each_size(self.pretrain_generator_step)
            self._discriminator_step = compile_each_size(self.discriminator_step)
            self._generator_step = compile_each_size(self.generator_step)

    def sample(self, character: int, scene: int, *, num: int, temperature: float, seed: int) -> list[str]:
        """See `PhasedTrainer.sample`."""
        characters_B, scenes_B = (torch.full((num,), each, device=self.device) for each in (character, scene))
        sizes = (self.config.sequence_length - 1, num, self.config.vocabulary_size)
        uniforms_TBV = torch.rand(sizes, generator=self._random.manual_seed(derived_seed(seed)), device=self.device)
        tokens_BT = self.fakes(characters_B, scenes_B, uniforms_TBV, temperature)
        # The first token is the start, not a word that was drawn.
        return [self.data.tokenizer.decode(tokens_T[1:]) for tokens_T in tokens_BT.tolist()]

    def synchronize(self) -> None:
        """Wait for the GPU, if there is one."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def state(self) -> dict[str, Any]:
        """Snapshot of everything, as NumPy arrays in the keys and layout of the TensorFlow tiers, which can load it."""
        return {
            "family": "dialogue_gan",
            "architecture": dict(self.architecture),
            "generator": keras_values(self.generator),
            "discriminator": keras_values(self.discriminator),
            "generator_optimizer": self.generator_optimizer.values(),
            "discriminator_optimizer": self.discriminator_optimizer.values(),
            "progress": self._progress(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of any tier in either framework, into the tensors that are there."""
        self._check_state(state)
        set_keras_values(self.generator, state["generator"])
        set_keras_values(self.discriminator, state["discriminator"])
        self.generator_optimizer.set_values(state["generator_optimizer"])
        self.discriminator_optimizer.set_values(state["discriminator_optimizer"])
        self._load_progress(state["progress"])

    # --- What the other tiers do otherwise ---

    def moved(self, batch: Batch) -> Inputs:
        """Bring a batch to the device."""
        return Inputs(*(torch.from_numpy(array).long().to(self.device) for array in batch))

    def uniforms(self, phase: str, num_sequences: int) -> Tensor:
        """Draw all random numbers (N) of the current step of a phase, for a batch of `num_sequences`."""
        seed = derived_seed(self.seed, PHASES.index(phase), *self.position(phase))
        size = num_uniforms(self.config, phase, num_sequences)
        return torch.rand(size, generator=self._random.manual_seed(seed), device=self.device)

    def fakes(self, characters_B: Tensor, scenes_B: Tensor, uniforms_TBV: Tensor, temperature: float) -> Tensor:
        """Sequences (B, T) that the generator makes up."""
        return sample_sequences(self.generator, characters_B, scenes_B, uniforms_TBV, temperature)

    def logits(self, inputs: Inputs, masks: GeneratorDraws) -> Tensor:
        """Logits (B, T - 1, V) of all tokens of a batch but the first."""
        tokens_BT, characters_B, scenes_B = inputs
        return cast("Tensor", self.generator_network(tokens_BT[:, :-1], characters_B, scenes_B, masks))

    def judged(self, real_BT: Tensor, fake_BT: Tensor, draws: DiscriminatorDraws) -> tuple[Tensor, Tensor]:
        """Probabilities (B) that real and fake sequences are real."""
        network = self.discriminator_network
        return network(real_BT, draws.real), network(fake_BT, draws.fake)

    # --- The train steps; what they return stays on the device ---

    def pretrain_generator_step(self, inputs: Inputs, masks: GeneratorDraws) -> Tensor:
        """One update of the generator towards the sequences themselves; returns the loss before it."""
        loss = teacher_forcing_loss(self.logits(inputs, masks), inputs.tokens_BT[:, 1:])
        return updated(self.generator_optimizer, loss, self.ranks)

    def discriminator_step(self, real_BT: Tensor, fake_BT: Tensor, draws: DiscriminatorDraws) -> tuple[Tensor, Tensor]:
        """One update of the discriminator; returns loss and accuracy before it."""
        real_B, fake_B = self.judged(real_BT, fake_BT, draws)
        loss, accuracy = discriminator_loss(real_B, fake_B, self.config.label_smoothing)
        return updated(self.discriminator_optimizer, loss, self.ranks), self.ranks.mean(accuracy)

    def generator_step(self, inputs: Inputs, masks: GeneratorDraws) -> tuple[Tensor, Tensor]:
        """One update of the generator towards the discriminator's taste; returns loss and mean reward before it."""
        rewards_B = policy_rewards(self.discriminator, inputs.tokens_BT)
        reward = self.ranks.mean(rewards_B.mean())
        loss = policy_loss(self.logits(inputs, masks), inputs.tokens_BT[:, 1:], rewards_B, reward)
        return updated(self.generator_optimizer, loss, self.ranks), reward

    @torch.no_grad()
    def _target_log_probabilities(self, batch: Batch) -> NDArray[np.float32]:
        tokens_BT, characters_B, scenes_B = self.moved(batch)
        logits_BTV = self.generator(tokens_BT[:, :-1], characters_B, scenes_B)
        found_BT: NDArray[np.float32] = target_log_probabilities(logits_BTV, tokens_BT[:, 1:]).cpu().numpy()
        return found_BT

    # --- Batches ---

    def _train_batch(self, phase: str, batch: Batch) -> None:
        num_sequences = len(batch.tokens_BT)
        draws = split(self.uniforms(phase, num_sequences), self.config, phase, num_sequences)
        if self.ranks.is_parallel:
            self.ranks.num_rows = num_sequences
            batch, draws = Batch(*(each[self.ranks.rows] for each in batch)), draws.of_rows(self.ranks.rows)
        inputs = self.moved(batch)
        of_phase = {
            "generator_pretraining": self.pretrain_generator_batch,
            "discriminator_pretraining": self.pretrain_discriminator_batch,
            "adversarial": self.adversarial_batch,
        }[phase]
        of_phase(inputs, draws)
        self._count_updates(phase)

    def pretrain_generator_batch(self, inputs: Inputs, draws: Draws) -> None:
        """Pre-train the generator on one batch."""
        loss = self._pretrain_generator_step(inputs, draws.of_generator[0])
        self._record("generator_losses", loss.item())

    def pretrain_discriminator_batch(self, inputs: Inputs, draws: Draws) -> None:
        """Pre-train the discriminator on one batch and fakes made for it."""
        loss, accuracy = self.train_discriminator(inputs, draws.of_discriminator[0])
        self._record("discriminator_losses", loss.item())
        self._record("discriminator_accuracies", accuracy.item())

    def adversarial_batch(self, inputs: Inputs, draws: Draws) -> None:
        """Train both networks on one batch."""
        for each in draws.of_discriminator:
            d_loss, accuracy = self.train_discriminator(inputs, each)
        self._record("discriminator_losses", d_loss.item())
        self._record("discriminator_accuracies", accuracy.item())
        for masks in draws.of_generator:
            g_loss, reward = self._generator_step(inputs, masks)
        self._record("generator_losses", g_loss.item())
        self._record("rewards", reward.item())
        self._print_line(g_loss, d_loss, accuracy, reward)

    def train_discriminator(self, inputs: Inputs, draws: DiscriminatorDraws) -> tuple[Tensor, Tensor]:
        """Make fakes for a batch and update the discriminator; returns loss and accuracy before it."""
        temperature = self.config.sampler_temperature
        fake_BT = self.fakes(inputs.characters_B, inputs.scenes_B, draws.sampling_TBV, temperature)
        return self._discriminator_step(inputs.tokens_BT, fake_BT, draws)

    def _print_line(self, *figures: Tensor) -> None:
        num_done = self.position("adversarial")[1] + 1
        if num_done % BATCHES_PER_LINE == 0:
            self.log(batch_line(num_done, [figure.item() for figure in figures]))

    def _count_updates(self, phase: str) -> None:
        of_generator, of_discriminator = num_updates(self.config, phase)
        self._figures["num_generator_updates"] += of_generator
        self._figures["num_discriminator_updates"] += of_discriminator


def updated(optimizer: KerasAdam, loss: Tensor, ranks: Ranks) -> Tensor:
    """Update a network by the gradients of a loss; return the loss of the whole batch, without its graph."""
    optimizer.zero_grad()
    ranks.weighted(loss).backward()  # type: ignore[no-untyped-call]
    optimizer.average_squares(ranks)
    optimizer.step()
    return ranks.mean(loss).detach()
