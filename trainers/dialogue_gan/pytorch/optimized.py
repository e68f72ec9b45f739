"""The dialogue GAN's training after documents 000 to 002 in PyTorch: `trainers.dialogue_gan.optimized` of the twin.

The documents' mechanisms, as PyTorch has them: `torch.compile` for `tf.function`, and a guard that decides on the
device. Networks, losses and random numbers are the reference's.

Shape suffixes: B sequences of a batch, T tokens, V token ids.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from trainers.dialogue_gan.config import TWIN_OPTIMIZED_SWITCHES, DialogueConfig
from trainers.dialogue_gan.data import Batch, DialogueData
from trainers.dialogue_gan.documented_loop import DocumentedLoop
from trainers.dialogue_gan.phased_trainer import num_updates
from trainers.dialogue_gan.pytorch.draws import Draws, GeneratorDraws
from trainers.dialogue_gan.pytorch.model import policy_loss, policy_rewards
from trainers.dialogue_gan.pytorch.optimizer import GuardedAdam
from trainers.dialogue_gan.pytorch.reference import Inputs, ReferenceTrainer, updated
from trainers.pytorch.compiling import compile_each_size
from trainers.pytorch.devices import compiles_for
from trainers.pytorch.ranks import Ranks
from trainers.switches import resolve

__all__ = ["OptimizedTrainer", "moved_without_waiting"]

_Step = TypeVar("_Step", bound=Callable[..., Any])


def moved_without_waiting(batch: Batch, device: torch.device) -> Inputs:
    """Bring a batch to a GPU while that is still busy with earlier work."""
    return Inputs(*(torch.from_numpy(array).pin_memory().to(device, non_blocking=True).long() for array in batch))


class OptimizedTrainer(DocumentedLoop, ReferenceTrainer):
    """The reference with the optimizations of documents 000 to 002, each behind a switch.

    Args:
        config: sizes and hyperparameters.
        data: sequences with the meanings of tokens, characters and scenes.
        device: where the networks live.
        seed: of the weights, the order of the batches, dropout and the fakes.
        switches: what is on; a switch not named here is as its `Switch` says, `compiled_steps` only with a compiler.
        log: takes the lines that the documents print.
        ranks: as the reference's.

    Attributes:
        batch_seconds: time of every adversarial batch, by the clock of the host.

    """

    generator_optimizer: GuardedAdam
    discriminator_optimizer: GuardedAdam

    def __init__(  # noqa: PLR0913 - the reference's, and the switches
        self,
        config: DialogueConfig,
        data: DialogueData,
        *,
        device: torch.device,
        seed: int,
        switches: Mapping[str, bool] | None = None,
        log: Callable[[str], None] = print,
        ranks: Ranks | None = None,
    ) -> None:
        """Bind every switch once, those of the loop in `DocumentedLoop`; from then on nothing asks for them."""
        is_parallel = ranks is not None and ranks.is_parallel
        chosen = {"compiled_steps": compiles_for(device) and not is_parallel, **(switches or {})}
        self.switches = on = resolve(TWIN_OPTIMIZED_SWITCHES, chosen)
        if ranks is not None:
            ranks.refuse_switches(on, "compiled_steps")

        # --- The switches of the steps, bound here and read nowhere else ---
        self._compiled: Callable[..., Any] = compile_each_size if on["compiled_steps"] else _as_it_is
        limit = config.gradient_clip if on["global_norm_clipping"] else math.inf
        self.optimizer_kind = partial(GuardedAdam, limit=limit, is_guarded=on["nan_skip"])
        # --- End of the switches ---

        super().__init__(config, data, on=on, device=device, seed=seed, log=log, ranks=ranks)

    def compile_steps(self) -> None:
        """Compile the train steps if the switch says so; each keeps by itself whether its update was applied."""
        self._pretrain_generator_step = self._noting("generator", self._compiled(self.pretrain_generator_step))
        self._discriminator_step = self._noting("discriminator", self._compiled(self.discriminator_step))
        self._adversarial_generator_step = self._noting("generator", self._compiled(self.adversarial_generator_step))

    def _noting(self, network: str, step: _Step) -> _Step:
        optimizer: GuardedAdam = getattr(self, f"{network}_optimizer")

        def run(*arguments: Any) -> Any:
            figures = step(*arguments)
            self._keep_applied(network, optimizer.applied.clone())
            return figures

        return cast("_Step", run)

    def adversarial_generator_step(
        self, inputs: Inputs, masks: GeneratorDraws, temperature: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """One update of the generator at a temperature; returns loss and mean reward before it."""
        rewards_B = policy_rewards(self.discriminator, inputs.tokens_BT)
        logits_BTV = self._scaled(self.logits(inputs, masks), temperature)
        reward = self.ranks.mean(rewards_B.mean())
        loss = policy_loss(logits_BTV, inputs.tokens_BT[:, 1:], rewards_B, reward)
        return updated(self.generator_optimizer, loss, self.ranks), reward

    # --- The loop ---

    def moved(self, batch: Batch) -> Inputs:
        """Bring a batch to the device; on a GPU the copy does not wait, which would undo `deferred_metrics`."""
        return moved_without_waiting(batch, self.device) if self.device.type == "cuda" else super().moved(batch)

    def pretrain_generator_batch(self, inputs: Inputs, draws: Draws) -> None:
        """Pre-train the generator on one batch; its loss stays on the device."""
        self._keep_loss("generator_losses", self._pretrain_generator_step(inputs, draws.of_generator[0]))

    def pretrain_discriminator_batch(self, inputs: Inputs, draws: Draws) -> None:
        """Pre-train the discriminator on one batch and fakes made for it; the figures stay on the device."""
        loss, accuracy = self.train_discriminator(inputs, draws.of_discriminator[0])
        self._keep_loss("discriminator_losses", loss)
        self._keep_accuracy("discriminator_accuracies", accuracy)

    def adversarial_batch(self, inputs: Inputs, draws: Draws) -> None:
        """Train both networks on one batch, the discriminator at intervals, the generator at the temperature."""
        self._adversarial_updates(
            lambda number: self.train_discriminator(inputs, draws.of_discriminator[number]),
            lambda number: self._adversarial_generator_step(inputs, draws.of_generator[number], self._temperature),
        )

    def _count_updates(self, phase: str) -> None:
        of_generator, of_discriminator = num_updates(self.config, phase)
        self._figures["num_generator_updates"] += of_generator
        if phase != "adversarial" or self._is_due():
            self._figures["num_discriminator_updates"] += of_discriminator

    # --- What the loop asks of a framework ---

    def _on_the_device(self, value: float) -> Tensor:
        return torch.full((), value, device=self.device)

    def _fetched(self, scalar: Tensor) -> Any:
        return scalar.item()

    def _fetched_together(self, scalars: Sequence[Tensor]) -> list[Any]:
        values: list[Any] = torch.stack(list(scalars)).tolist()
        return values


def _as_it_is(step: _Step) -> _Step:
    return step
