"""The dialogue GAN's training in PyTorch with the reference's work and mathematics, as fast as the hardware allows.

Batches, random numbers, networks, losses and updates are the reference's; only how they are computed changes.

Shape suffixes: B sequences of a batch, T tokens, V token ids, N numbers, F figures of a batch.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from trainers.dialogue_gan.config import TWIN_SWITCHES, DialogueConfig
from trainers.dialogue_gan.data import Batch, DialogueData
from trainers.dialogue_gan.phased_trainer import BATCHES_PER_LINE, SERIES, batch_line
from trainers.dialogue_gan.pytorch.draws import DiscriminatorDraws, Draws, GeneratorDraws, split
from trainers.dialogue_gan.pytorch.model import Generator
from trainers.dialogue_gan.pytorch.optimized import moved_without_waiting
from trainers.dialogue_gan.pytorch.optimizer import ForeachAdam, KerasAdam
from trainers.dialogue_gan.pytorch.reference import Inputs, ReferenceTrainer
from trainers.dialogue_gan.pytorch.sampling import (
    incremental_sequences,
    merged_sequences,
    next_token,
    sample_sequences,
)
from trainers.pytorch.compiling import compile_each_size
from trainers.pytorch.cuda_graphs import Captured, capture, captures_graphs
from trainers.pytorch.freed_memory import freed_memory_kept, keeps_freed_memory, return_freed_memory
from trainers.pytorch.mixed_precision import multiplies_bfloat16
from trainers.switches import resolve

__all__ = ["FastestTrainer"]


_MOST_IDS_A_TOKEN = 4
"""Token ids in the table of `merged_products`, for each token to draw; a larger table costs more than it saves."""


@dataclass(frozen=True)
class _CapturedBatch:
    """All that is done with a batch of one size, to be replayed on what lies in its tensors.

    Attributes:
        figures_F: what comes of it, in the order of `SERIES`.
        inputs: the batch.
        uniforms_N: its random numbers.

    """

    figures_F: Captured[Tensor]
    inputs: Inputs
    uniforms_N: Tensor


class FastestTrainer(ReferenceTrainer):
    """The reference computed faster, each way of doing so behind a switch.

    Args:
        config: as the reference's.
        data: as the reference's.
        device: as the reference's.
        seed: as the reference's.
        log: as the reference's.
        switches: what is on; a switch not named here is on where the device makes it pay.

    Raises:
        BadInput: an unknown switch.

    """

    def __init__(  # noqa: PLR0913 - the reference's, and the switches
        self,
        config: DialogueConfig,
        data: DialogueData,
        *,
        device: torch.device,
        seed: int,
        log: Callable[[str], None] = print,
        switches: Mapping[str, bool] | None = None,
    ) -> None:
        """Bind every switch once; from then on nothing asks for them."""
        on_cuda = device.type == "cuda"
        of_device = {
            "compiled_sampler": on_cuda,
            "bfloat16": on_cuda and multiplies_bfloat16(device),
            "kept_memory": not on_cuda and keeps_freed_memory(),
            "deferred_metrics": on_cuda,
            "cuda_graphs": on_cuda,
        }
        self.switches = on = resolve(TWIN_SWITCHES, {**of_device, **(switches or {})})

        # --- The switches, bound here and read nowhere else ---
        incremental = self._merged_sequences if on["merged_products"] else incremental_sequences
        self._draw_sequences = incremental if on["incremental_decoding"] else sample_sequences
        self._next_token = compile_each_size(next_token) if on["compiled_sampler"] else next_token
        self._judge = self._judge_together if on["joined_discriminator"] else super().judged
        self.optimizer_kind = ForeachAdam if on["foreach_optimizer"] else KerasAdam
        self._precision: Callable[[], AbstractContextManager[object]] = partial(
            torch.autocast, device.type, torch.bfloat16, enabled=on["bfloat16"]
        )
        self._note = self._note_later if on["deferred_metrics"] else self._note_at_once
        self._memory: Callable[[], AbstractContextManager[object]] = (
            freed_memory_kept if on["kept_memory"] else nullcontext
        )
        self._return_memory: Callable[[], None] = return_freed_memory if on["kept_memory"] else lambda: None
        captures = on["cuda_graphs"] and captures_graphs(device)
        self._figures_of_batch = self._replayed if captures else self._computed
        # --- End of the switches ---

        self._figures_of_phase = {
            "generator_pretraining": self.generator_pretraining_figures,
            "discriminator_pretraining": self.discriminator_pretraining_figures,
            "adversarial": self.adversarial_figures,
        }
        self._batch_sizes = {config.batch_size, len(data.train) % config.batch_size}
        self._captured: dict[tuple[str, int], _CapturedBatch] = {}
        self._pending: list[Tensor] = []  # figures (F) still on the device, of the current call's phase
        super().__init__(config, data, device=device, seed=seed, log=log)

    def close(self) -> None:
        """Give back the captured graphs with their memory, and freed memory that was kept."""
        self.drop_graphs()
        super().close()
        self._return_memory()

    def drop_graphs(self) -> None:
        """Forget the captured graphs; the next batch of each size is captured again."""
        self._captured.clear()

    def compile_steps(self) -> None:
        """Leave the steps as they are, whatever the configuration says: `cuda_graphs` captures them."""
        self._discriminator_step = self.discriminator_step

    # --- What the switches change ---

    def moved(self, batch: Batch) -> Inputs:
        """Bring a batch to the device without waiting for what that is still busy with."""
        if self.device.type != "cuda":
            return super().moved(batch)
        return moved_without_waiting(batch, self.device)

    def fakes(self, characters_B: Tensor, scenes_B: Tensor, uniforms_TBV: Tensor, temperature: float) -> Tensor:
        """Draw fake sequences (B, T) by the sampler that the switches choose."""
        return self._draw_sequences(self.generator, characters_B, scenes_B, uniforms_TBV, temperature)

    def _merged_sequences(
        self, generator: Generator, characters_B: Tensor, scenes_B: Tensor, uniforms_TBV: Tensor, temperature: float
    ) -> Tensor:
        """Draw by the compiled step for the sizes of batches; a few samples are not worth compiling."""
        step = self._next_token if len(characters_B) in self._batch_sizes else next_token
        if generator.token_embedding.num_embeddings > _MOST_IDS_A_TOKEN * len(uniforms_TBV) * len(characters_B):
            return incremental_sequences(generator, characters_B, scenes_B, uniforms_TBV, temperature)
        return merged_sequences(generator, characters_B, scenes_B, uniforms_TBV, temperature, step=step)

    def logits(self, inputs: Inputs, masks: GeneratorDraws) -> Tensor:
        """Return logits (B, T - 1, V), with the output layer in bfloat16 where the switch is on.

        That layer is the one large product. The LSTMs stay in float32: a rounding error in them reaches all later
        tokens.
        """
        tokens_BT, characters_B, scenes_B = inputs
        outputs_BTH = self.generator.hidden(tokens_BT[:, :-1], characters_B, scenes_B, masks)
        with self._precision():
            logits_BTV: Tensor = self.generator.logits(outputs_BTH)
        return logits_BTV.float()

    def judged(self, real_BT: Tensor, fake_BT: Tensor, draws: DiscriminatorDraws) -> tuple[Tensor, Tensor]:
        """Return probabilities (B) that real and fake sequences are real, judged together or apart by the switch."""
        return self._judge(real_BT, fake_BT, draws)

    def _judge_together(self, real_BT: Tensor, fake_BT: Tensor, draws: DiscriminatorDraws) -> tuple[Tensor, Tensor]:
        return self.discriminator.of_both(real_BT, fake_BT, draws.real, draws.fake)

    # --- What is done with one batch: figures (F) in the order of SERIES, on the device ---

    def generator_pretraining_figures(self, inputs: Inputs, draws: Draws) -> Tensor:
        """Pre-train the generator; its loss."""
        return torch.stack([self.pretrain_generator_step(inputs, draws.of_generator[0])])

    def discriminator_pretraining_figures(self, inputs: Inputs, draws: Draws) -> Tensor:
        """Pre-train the discriminator on fakes made for the batch; its loss and accuracy."""
        return torch.stack(self.train_discriminator(inputs, draws.of_discriminator[0]))

    def adversarial_figures(self, inputs: Inputs, draws: Draws) -> Tensor:
        """Train both networks; the generator's loss, the discriminator's with its accuracy, and the mean reward."""
        for each in draws.of_discriminator:
            d_loss, accuracy = self.train_discriminator(inputs, each)
        for masks in draws.of_generator:
            g_loss, reward = self.generator_step(inputs, masks)
        return torch.stack([g_loss, d_loss, accuracy, reward])

    def _computed(self, phase: str, inputs: Inputs, uniforms_N: Tensor) -> Tensor:
        """Do it kernel by kernel."""
        draws = split(uniforms_N, self.config, phase, len(inputs.tokens_BT))
        return self._figures_of_phase[phase](inputs, draws)

    def _replayed(self, phase: str, inputs: Inputs, uniforms_N: Tensor) -> Tensor:
        """Do it by replaying what was captured with the first batch of that size."""
        key = (phase, len(inputs.tokens_BT))
        if key not in self._captured:
            self._captured[key] = self._capture(phase, inputs, uniforms_N)
        captured = self._captured[key]
        for held, given in zip((*captured.inputs, captured.uniforms_N), (*inputs, uniforms_N), strict=True):
            held.copy_(given)
        return captured.figures_F.replay().clone()

    def _capture(self, phase: str, inputs: Inputs, uniforms_N: Tensor) -> _CapturedBatch:
        """Capture all kernels of a batch; the weights are as before it."""
        inputs, uniforms_N = Inputs(*(each.clone() for each in inputs)), uniforms_N.clone()
        tensors = [*self.generator_optimizer.tensors(), *self.discriminator_optimizer.tensors()]
        figures_F = capture(lambda: self._computed(phase, inputs, uniforms_N), tensors, self.device)
        return _CapturedBatch(figures_F, inputs, uniforms_N)

    # --- Batches ---

    def _train_batch(self, phase: str, batch: Batch) -> None:
        inputs, uniforms_N = self.moved(batch), self.uniforms(phase, len(batch.tokens_BT))
        self._note(self._figures_of_batch(phase, inputs, uniforms_N))
        self._count_updates(phase)
        num_done = self.position(phase)[1] + 1
        if phase == "adversarial" and num_done % BATCHES_PER_LINE == 0:
            self._settle()
            self.log(batch_line(num_done, [self._series[name][-1] for name in SERIES[phase]]))

    def _take_steps(self, n: int, phase: str) -> None:
        with self._memory():
            try:
                super()._take_steps(n, phase)
            finally:
                self._settle()

    def _begin_epoch(self, phase: str, epoch: int) -> None:
        self._settle()  # into the series of the epoch that they are of
        super()._begin_epoch(phase, epoch)

    def _note_at_once(self, figures_F: Tensor) -> None:
        self._file(figures_F.tolist())

    def _note_later(self, figures_F: Tensor) -> None:
        self._pending.append(figures_F)

    def _settle(self) -> None:
        """Fetch the figures that are still on the device, all at once, and file them in their order."""
        pending, self._pending = self._pending, []
        if pending:
            for figures_F in torch.stack(pending).tolist():
                self._file(figures_F)

    def _file(self, figures_F: list[float]) -> None:
        for name, figure in zip(SERIES[self._phase], figures_F, strict=True):
            self._record(name, figure)
