"""The text-to-image training as fast as the hardware allows: the reference's work and mathematics, nothing left out.

Images, batches, noise, networks, losses and optimizers are the reference's; only how they are computed changes.

Shape suffixes: B items of a batch, G items of the passes joined to one, C channels, H and W rows and columns of pixels,
F features, E embedded text, Z noise, P purposes of noise.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch.utils.data import DataLoader

from trainers.pytorch.compiling import compile_each_size
from trainers.pytorch.convolutions import convolve, convolve_transposed, from_one_pixel, replace_forward
from trainers.pytorch.cuda_graphs import (
    Captured,
    LearningRates,
    begin_moments,
    capture,
    captures_graphs,
    changed_by,
    keep_tensors,
)
from trainers.pytorch.freed_memory import freed_memory_kept, keeps_freed_memory, return_freed_memory
from trainers.pytorch.loading import make_loader
from trainers.pytorch.mixed_precision import multiplies_bfloat16
from trainers.pytorch.optimizer_state import align_moments, keep_kernel_options, portable_state
from trainers.pytorch.randomness import derived_seed
from trainers.switches import resolve
from trainers.text_to_image.config import FASTEST_SWITCHES, TextToImageConfig
from trainers.text_to_image.data.items import Batch, CaptionData, TrainSampler, join_items
from trainers.text_to_image.data.pixel_cache import CachedItems, PixelCache, open_cache
from trainers.text_to_image.data.resident import ResidentItems, ResidentLoader, fits_on_device
from trainers.text_to_image.model import discriminator_loss, entropy_of_probabilities, generator_loss
from trainers.text_to_image.reference import NOISE, SECOND_NOISE, ReferenceTrainer

__all__ = ["FastestTrainer"]


class _Inputs(NamedTuple):
    """Hold the tensors of a step, on the device.

    Attributes:
        images_BCHW: of the batch, normalized or bytes.
        texts_BE: embedded captions.
        noise_PBZ: of the discriminator's fakes and, where the procedure has others, of the generator's.
        wrong_B: see `Batch`; None where the procedure has no mismatched images.

    """

    images_BCHW: Tensor
    texts_BE: Tensor
    noise_PBZ: Tensor
    wrong_B: Tensor | None


_DiscriminatorLoss = Callable[[Tensor, Tensor | None, Tensor, Tensor], Tensor]
"""Loss of images, of the places of mismatched ones among them, of fakes, and of embedded texts."""

_OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")


class FastestTrainer(ReferenceTrainer):
    """The reference computed faster, each way of doing so behind a switch.

    Args:
        config: as the reference's.
        data: as the reference's.
        device: as the reference's.
        seed: as the reference's.
        log: as the reference's.
        switches: what is on; a switch not named here is on where the device makes it pay.

    Attributes:
        memory: returns a context in which steps use freed memory again, by the switch.

    Raises:
        BadInput: an unknown switch, or no place to keep the decoded images.

    """

    def __init__(  # noqa: PLR0913 - the reference's, and the switches
        self,
        config: TextToImageConfig,
        data: CaptionData,
        *,
        device: torch.device,
        seed: int,
        log: Callable[[str], None] = print,
        switches: Mapping[str, bool] | None = None,
    ) -> None:
        """Bind every switch once; from then on nothing asks for them."""
        on_cuda = device.type == "cuda"
        of_device = {
            "bfloat16": multiplies_bfloat16(device),
            # On a CPU, joining BatchNorm's results costs more memory traffic than fewer calls save.
            "joined_passes": on_cuda,
            "resident_data": on_cuda and fits_on_device(data, config.image_size, device),
            "kept_memory": not on_cuda and keeps_freed_memory(),
            # In float32, the library's convolutions are faster than its products.
            "unfolded_maps": not on_cuda and multiplies_bfloat16(device),
            "compiled_losses": on_cuda,
            "deferred_metrics": on_cuda,
            "captured_step": on_cuda,
        }
        self.switches = on = resolve(FASTEST_SWITCHES, {**of_device, **(switches or {})})

        # --- The switches, bound here and read nowhere else ---
        self._layout = torch.channels_last if on["channels_last"] else torch.contiguous_format
        self._precision: Callable[[], AbstractContextManager[object]] = partial(
            torch.autocast, device.type, torch.bfloat16, enabled=on["bfloat16"]
        )
        self._cache = open_cache(data, config.image_size) if on["cached_images"] else None
        self._real = self._normalized if on["cached_images"] else self._laid_out
        self._resident: ResidentItems | None = None
        self._of_cache = self._resident_loader if on["resident_data"] else self._cached_loader
        super().__init__(config, data, device=device, seed=seed, log=log)
        for network in (self.generator, self.discriminator):
            network.to(memory_format=self._layout)  # type: ignore[call-overload] # PyTorch's stubs do not know it
        captures = on["captured_step"] and captures_graphs(device)
        if on["fused_optimizer"] or captures:
            self._build_optimizers(fused=on["fused_optimizer"], capturable=captures)
        self._losses_of = self._replayed if captures else self._computed
        self._loading = partial(keep_tensors, *self._optimizers()) if captures else nullcontext
        self._loss_d = self._joined_discriminator_loss if on["joined_passes"] else self._discriminator_loss
        self._logits, self._reusing_logits = self.discriminator.logits, self._logits_of_features
        if on["matrix_products"]:
            replace_forward(self.generator.image[0], from_one_pixel)
            self._logits, self._reusing_logits = self._logits_by_products, self._logits_of_numbers
        if on["unfolded_maps"] and on["bfloat16"]:
            # Those that end, and begin, with maps of 4x4 pixels; a ReLU and a BatchNorm lie in between.
            replace_forward([each for each in self.discriminator.image if isinstance(each, nn.Conv2d)][-1], convolve)
            replace_forward(self.generator.image[3], convolve_transposed)
        self.memory: Callable[[], AbstractContextManager[object]] = (
            freed_memory_kept if on["kept_memory"] else nullcontext
        )
        self._return_memory: Callable[[], None] = return_freed_memory if on["kept_memory"] else lambda: None
        self._features = self._joined_features if on["joined_passes"] else self._separate_features
        self._loss_d_reusing, self._loss_g = self._reusing_discriminator_loss, self._generator_loss
        if on["compiled_losses"]:
            self._loss_d, self._loss_g = compile_each_size(self._loss_d), compile_each_size(self._loss_g)
            self._loss_d_reusing = compile_each_size(self._loss_d_reusing)
        if not on["reused_features"]:
            self._loss_d_reusing = self._loss_d
        self._judging = partial(_frozen, self.discriminator) if on["pruned_backward"] else nullcontext
        self._note = self._note_later if on["deferred_metrics"] else self._note_at_once
        # --- End of the switches ---

        self._pending: list[tuple[Tensor, Tensor, int]] = []  # losses still on the device, and how many items
        self._captured: dict[tuple[int, _DiscriminatorLoss], tuple[Captured[Tensor], _Inputs]] = {}
        self._rates = LearningRates(*self._optimizers(), device=device)
        # A tensor of the device: a division by a number is one by its reciprocal on CUDA, which rounds otherwise.
        self._half_range = torch.tensor(127.5, device=device)

    def make_loader(self, part: str) -> DataLoader[Batch]:
        """Return a loader whose `train` batches may hold images as bytes, which the step normalizes."""
        if self._cache is None or part != "train":
            return super().make_loader(part)
        items, batch_size = CachedItems(self.data, part, self._cache), self.config.batch_size
        return self._of_cache(items, self._cache, TrainSampler(items, batch_size))

    def train_batch(self, batch: Batch) -> tuple[float, float]:
        """Update the discriminator, then the generator; see the reference's."""
        loss_d, loss_g = self._update(batch)
        return loss_d.item(), loss_g.item()

    def state(self) -> dict[str, Any]:
        """Return the reference's state, independent of the optimizers' kernels and the weights' memory layout."""
        return {**super().state(), **{name: portable_state(getattr(self, name)) for name in _OPTIMIZERS}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of any tier, and keep these optimizers' kernels and memory layout."""
        self._check_state(state)
        ours = {name: keep_kernel_options(getattr(self, name), state[name]) for name in _OPTIMIZERS}
        with self._loading():
            super().load_state({**state, **ours})
        for optimizer in self._optimizers():
            align_moments(optimizer)

    def close(self) -> None:
        """Give back the captured graphs with their memory, and freed memory that was kept."""
        self.drop_graphs()
        super().close()
        self._return_memory()

    def drop_graphs(self) -> None:
        """Forget the captured graphs; the next batch of each size and loss is captured again."""
        self._captured.clear()

    def _optimizers(self) -> tuple[Adam, Adam]:
        return self.generator_optimizer, self.discriminator_optimizer

    def _build_optimizers(self, *, fused: bool, capturable: bool) -> None:
        config = self.config
        for name in ("generator", "discriminator"):
            weights, betas = getattr(self, name).parameters(), (config.beta1, config.beta2)
            optimizer = Adam(weights, lr=config.learning_rate, betas=betas, fused=fused or None, capturable=capturable)
            if capturable:
                begin_moments(optimizer)
            setattr(self, f"{name}_optimizer", optimizer)

    def _cached_loader(self, items: CachedItems, cache: PixelCache, sampler: TrainSampler) -> DataLoader[Batch]:
        del cache
        return make_loader(items, self.config.batch_size, sampler=sampler, collate=join_items)

    def _resident_loader(self, items: CachedItems, cache: PixelCache, sampler: TrainSampler) -> DataLoader[Batch]:
        if self._resident is None:  # read once, for all loaders that are asked for
            self._resident = ResidentItems(items, cache, self.device)
        return cast("DataLoader[Batch]", ResidentLoader(self._resident, sampler, self.config.batch_size))

    def _update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Do the reference's step; the losses stay on the device."""
        wrong_B = self.wrong_of(batch)
        purposes = (NOISE, SECOND_NOISE) if self.runs_twice else (NOISE,)
        inputs = _Inputs(
            images_BCHW=self._moved(batch.images_BCHW),
            texts_BE=self._moved(batch.texts_BE),
            noise_PBZ=torch.stack(
                [self._noise(len(batch.texts_BE), each, self.epoch, self.num_items_done) for each in purposes]
            ),
            wrong_B=None if wrong_B is None else self._moved(wrong_B),
        )
        reuses = wrong_B is not None and batch.wrong_is_permutation
        return self._losses_of(inputs, self._loss_d_reusing if reuses else self._loss_d)

    def _replayed(self, inputs: _Inputs, loss_d_of: _DiscriminatorLoss) -> tuple[Tensor, Tensor]:
        """Do the step by replaying what was captured with the first batch of that size and loss."""
        kind = len(inputs.texts_BE), loss_d_of
        if kind not in self._captured:
            self._captured[kind] = self._capture(inputs, loss_d_of)
        captured, held = self._captured[kind]
        for mine, given in zip(held, inputs, strict=True):
            if mine is not None:
                mine.copy_(cast("Tensor", given))
        self._rates.update()
        loss_d, loss_g = captured.replay().clone()
        return loss_d, loss_g

    def _capture(self, inputs: _Inputs, loss_d_of: _DiscriminatorLoss) -> tuple[Captured[Tensor], _Inputs]:
        """Capture a step; return it, and the tensors in which it looks for its batch."""
        held = _Inputs._make(None if given is None else given.clone() for given in inputs)
        statistics = [*self.generator.buffers(), *self.discriminator.buffers()]
        changed = [*statistics, *(tensor for each in self._optimizers() for tensor in changed_by(each))]
        with self._rates.installed():
            return capture(lambda: torch.stack(self._computed(held, loss_d_of)), changed, self.device), held

    def _computed(self, inputs: _Inputs, loss_d_of: _DiscriminatorLoss) -> tuple[Tensor, Tensor]:
        """Do the step operation by operation."""
        images_BCHW, texts_BE, noise_PBZ, wrong_B = self._real(inputs.images_BCHW), *inputs[1:]
        with torch.set_grad_enabled(not self.runs_twice):  # of these fakes nothing flows back if others come after them
            fakes_BCHW = self._fakes(noise_PBZ[0], texts_BE)

        self.discriminator_optimizer.zero_grad()
        loss_d = loss_d_of(images_BCHW, wrong_B, fakes_BCHW.detach(), texts_BE)
        loss_d.backward()  # type: ignore[no-untyped-call]
        self.discriminator_optimizer.step()

        if self.runs_twice:
            fakes_BCHW = self._fakes(noise_PBZ[1], texts_BE)
        self.generator_optimizer.zero_grad()
        with self._judging():
            loss_g = self._loss_g(images_BCHW, fakes_BCHW, texts_BE)
        loss_g.backward()  # type: ignore[no-untyped-call]
        self.generator_optimizer.step()
        return loss_d.detach(), loss_g.detach()

    def _fakes(self, noise_BZ: Tensor, texts_BE: Tensor) -> Tensor:
        """Draw the images of a batch's texts."""
        seeds_BCHW = self.generator.seed_maps(noise_BZ, texts_BE)
        with self._precision():
            fakes_BCHW = self.generator.image(seeds_BCHW)
        return fakes_BCHW.float()  # type: ignore[no-any-return]

    def _discriminator_loss(
        self, images_BCHW: Tensor, wrong_B: Tensor | None, fakes_BCHW: Tensor, texts_BE: Tensor
    ) -> Tensor:
        return discriminator_loss(
            self._judged, images_BCHW, wrong_B, fakes_BCHW, texts_BE, entropy=entropy_of_probabilities
        )

    def _joined_discriminator_loss(
        self, images_BCHW: Tensor, wrong_B: Tensor | None, fakes_BCHW: Tensor, texts_BE: Tensor
    ) -> Tensor:
        """Give the same loss with the passes' images, one after the other, in one call of each layer."""
        mismatched = [] if wrong_B is None else [images_BCHW[wrong_B]]
        passes = [images_BCHW, *mismatched, fakes_BCHW]
        features = self._features(passes, [1] * len(passes))
        return self._entropy([self._logits(each, texts_BE) for each in features])

    def _reusing_discriminator_loss(
        self, images_BCHW: Tensor, wrong_B: Tensor | None, fakes_BCHW: Tensor, texts_BE: Tensor
    ) -> Tensor:
        """Give the same loss where the mismatched images are the real ones in another order.

        The statistics of a batch do not depend on its order, so the features of its images do not either.
        """
        real_BFHW, fake_BFHW = self._features([images_BCHW, fakes_BCHW], [2, 1])
        return self._entropy(self._reusing_logits(real_BFHW, cast("Tensor", wrong_B), fake_BFHW, texts_BE))

    def _entropy(self, logits: Sequence[Tensor]) -> Tensor:
        """Add up the passes' cross-entropies, from their logits (B,); the real images' pass is the first."""
        return sum(map(entropy_of_probabilities, logits, (1.0, 0.0, 0.0)), start=torch.zeros((), device=self.device))

    def _logits_of_features(
        self, real_BFHW: Tensor, wrong_B: Tensor, fake_BFHW: Tensor, texts_BE: Tensor
    ) -> Sequence[Tensor]:
        """Give the logits of real, mismatched and fake images, the mismatched ones from the real images' features."""
        return [self._logits(each, texts_BE) for each in (real_BFHW, real_BFHW[wrong_B], fake_BFHW)]

    def _logits_of_numbers(
        self, real_BFHW: Tensor, wrong_B: Tensor, fake_BFHW: Tensor, texts_BE: Tensor
    ) -> Sequence[Tensor]:
        """Give the same logits; what an image adds to its logit does not depend on the text."""
        real_B, fake_B = self._logits_of_images(real_BFHW), self._logits_of_images(fake_BFHW)
        return [each + self._logits_of_texts(texts_BE) for each in (real_B, real_B[wrong_B], fake_B)]

    def _logits_by_products(self, features_BFHW: Tensor, texts_BE: Tensor) -> Tensor:
        """Do what `Discriminator.logits` does, whose convolution sees whole maps of features, and one text all over."""
        return self._logits_of_images(features_BFHW) + self._logits_of_texts(texts_BE)

    def _logits_of_images(self, features_BFHW: Tensor) -> Tensor:
        weights_FHW = self.discriminator.judge.weight[0, : features_BFHW.shape[1]]
        return features_BFHW.permute(0, 2, 3, 1).flatten(1) @ weights_FHW.permute(1, 2, 0).flatten()

    def _logits_of_texts(self, texts_BE: Tensor) -> Tensor:
        texts_BT = self.discriminator.text(texts_BE)
        weights_T = self.discriminator.judge.weight[0, -texts_BT.shape[1] :].sum((1, 2))
        return cast("Tensor", texts_BT @ weights_T)

    def _joined_features(self, passes: Sequence[Tensor], times: Sequence[int]) -> Sequence[Tensor]:
        """Give the features (B, F, H, W) of several passes' images in one call of each layer.

        Args:
            passes: images (B, C, H, W) of each.
            times: how often each pass counts for BatchNorm's running statistics.

        """
        maps_GCHW = self._laid_out(_joined(passes))
        with self._precision():
            for layer in self.discriminator.image:
                # Statistics are of a pass, and the running ones move on in the order of the passes.
                if isinstance(layer, nn.BatchNorm2d):
                    parts = zip(maps_GCHW.chunk(len(passes)), times, strict=True)
                    maps_GCHW = _joined([_normalized_maps(layer, part, count) for part, count in parts])
                else:
                    maps_GCHW = layer(maps_GCHW)
        return maps_GCHW.float().chunk(len(passes))

    def _separate_features(self, passes: Sequence[Tensor], times: Sequence[int]) -> Sequence[Tensor]:
        """Give the features of several passes' images, one pass after the other."""
        return [self._joined_features([images], [count])[0] for images, count in zip(passes, times, strict=True)]

    def _generator_loss(self, images_BCHW: Tensor, fakes_BCHW: Tensor, texts_BE: Tensor) -> Tensor:
        return generator_loss(
            self._judged, images_BCHW, fakes_BCHW, texts_BE, entropy=entropy_of_probabilities, **self.loss_weights
        )

    def _judged(self, images_BCHW: Tensor, texts_BE: Tensor) -> tuple[Tensor, Tensor]:
        """Do what the discriminator does, the convolutions of the image alone in the switches' precision.

        The last one makes a single number of 10,240: in bfloat16 its rounding alone would be most of the loss's.
        """
        with self._precision():
            features_BFHW = self.discriminator.image(self._laid_out(images_BCHW))
        features_BFHW = features_BFHW.float()
        return self._logits(features_BFHW, texts_BE), features_BFHW

    def _normalized(self, bytes_BCHW: Tensor) -> Tensor:
        """Scale bytes to [-1, 1] as `decode_image` does, to the bit."""
        return self._laid_out(bytes_BCHW.float() / self._half_range - 1)

    def _laid_out(self, images_BCHW: Tensor) -> Tensor:
        return images_BCHW.contiguous(memory_format=self._layout)

    def _moved(self, tensor: Tensor) -> Tensor:
        """Bring a tensor to the device without waiting for what that is still busy with."""
        is_there = tensor.device.type == self.device.type
        return tensor if is_there else tensor.pin_memory().to(self.device, non_blocking=True)

    def _noise(self, num_items: int, *words: int) -> Tensor:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, *words))
        return self._moved(torch.randn(num_items, self.config.noise_size, generator=generator))

    def _take_steps(self, n: int) -> None:
        with self.memory():
            try:
                super()._take_steps(n)
            finally:
                self._settle()

    def _take_step(self) -> None:
        batch = self._next_batch()
        self._note(self._update(batch), len(batch.texts_BE))

    def _note_at_once(self, losses: tuple[Tensor, Tensor], num_items: int) -> None:
        loss_d, loss_g = losses
        self._note_step((loss_d.item(), loss_g.item()), num_items)

    def _note_later(self, losses: tuple[Tensor, Tensor], num_items: int) -> None:
        self._pending.append((*losses, num_items))
        self._count_step(num_items)

    def _settle(self) -> None:
        """Fetch the losses that are still on the device, all at once, and note them in their order."""
        pending, self._pending = self._pending, []
        if pending:
            fetched = torch.stack([loss for *losses, _ in pending for loss in losses]).tolist()
            for number, (_, _, num_items) in enumerate(pending):
                self._note_losses((fetched[2 * number], fetched[2 * number + 1]), num_items)

    def _log_line(self) -> None:
        self._settle()
        super()._log_line()

    def _begin_epoch(self, epoch: int) -> None:
        self._settle()  # into the sums of the epoch that they are of
        super()._begin_epoch(epoch)


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Let no gradient of a network's weights be computed of what is done inside."""
    network.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        network.requires_grad_(requires_grad=True)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _normalized_maps(layer: nn.BatchNorm2d, maps_BCHW: Tensor, times: int) -> Tensor:
    """Apply BatchNorm to a batch that its running statistics count once or twice."""
    if times == 1 or not layer.training:
        return cast("Tensor", layer(maps_BCHW))
    kept = [cast("Tensor", layer.running_mean), cast("Tensor", layer.running_var)]
    mean_C, variance_C = (each.clone() for each in kept)
    share = cast("float", layer.momentum)
    result = functional.batch_norm(
        maps_BCHW,
        running_mean=mean_C,
        running_var=variance_C,
        weight=layer.weight,
        bias=layer.bias,
        training=True,
        momentum=share,
        eps=layer.eps,
    )
    with torch.no_grad():
        for before, once in zip(kept, (mean_C, variance_C), strict=True):
            # They come closer to the batch's by a share of what is missing; the second time less is.
            before.copy_(once + (1 - share) * (once - before))
        cast("Tensor", layer.num_batches_tracked).add_(2)
    return result
