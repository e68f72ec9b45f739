"""The loop of documents 000 to 002 around the train steps: figures kept on the device, interval, temperature, lines.

Both frameworks' optimized tiers inherit it; it imports neither.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trainers.contract import BadInput
from trainers.dialogue_gan.config import DialogueConfig
from trainers.dialogue_gan.data import DialogueData
from trainers.dialogue_gan.phased_trainer import BATCHES_PER_LINE, PhasedTrainer, batch_line
from trainers.dialogue_gan.schedule import annealed_temperature
from trainers.switches import Settings

__all__ = ["DocumentedLoop", "TooManySkips"]

_GOOD_ACCURACY = 0.7

Scalar = Any
"""A number on the device, of either framework."""


class TooManySkips(BadInput):
    """Update after update was left out, because none had finite gradients: there is nothing left to train."""


class DocumentedLoop(PhasedTrainer):
    """Records, schedules and prints what documents 000 to 002 add to a reference; goes before it among the bases.

    Args:
        config: sizes and hyperparameters.
        data: sequences with what the tokens, characters and scenes mean.
        on: complete settings of the switches.
        others: arguments of the reference.

    Attributes:
        batch_seconds: time of every adversarial batch, by the clock of the host.

    """

    def __init__(self, config: DialogueConfig, data: DialogueData, *, on: Settings, **others: Any) -> None:
        """Bind the switches that no framework computes; from then on nothing asks for them."""
        # --- The switches of the loop, bound here and read nowhere else ---
        keep = self._keep_for_later if on["deferred_metrics"] else self._keep_now
        self._keep_loss = self._keep_reward = keep
        self._keep_accuracy = self._keep_for_later if on["device_accuracy"] else self._keep_now
        self._interval = config.d_train_interval if on["discriminator_interval"] else 1
        self._keep_applied = (
            self._ignore_applied if not on["nan_skip"]
            else self._keep_applied_for_later if on["deferred_metrics"] else self._keep_applied_now
        )  # fmt: skip
        self._scaled = self._over_temperature if on["temperature_schedule"] else self._unscaled
        self._temperature_of_epoch = self._annealed if on["temperature_schedule"] else self._constant_temperature
        # A Python number is part of what a graph is traced for, a tensor is an input of it.
        self._as_argument: Callable[[float], Any] = float if on["python_float_temperature"] else self._on_the_device
        # --- End of the switches ---

        self.batch_seconds: list[float] = []
        self._pending: list[tuple[str, Scalar, dict[str, list[float]]]] = []
        self._pending_applied: list[tuple[str, Scalar, dict[str, Any]]] = []
        self._consecutive_skips = {"generator": 0, "discriminator": 0}
        self._epoch_started = time.perf_counter()
        self._final_accuracy = math.nan
        super().__init__(config, data, **others)
        self._set_temperature(0)
        self._d_loss = self._d_accuracy = self._on_the_device(0.0)

    # --- What a framework says ---

    def _on_the_device(self, value: float) -> Scalar:
        """Return a number as a float32 tensor."""
        raise NotImplementedError

    def _fetched(self, scalar: Scalar) -> Any:
        """Return a tensor as a number, after waiting for the device."""
        raise NotImplementedError

    def _fetched_together(self, scalars: Sequence[Scalar]) -> list[Any]:
        """Return tensors as numbers, in one transfer."""
        raise NotImplementedError

    # --- The adversarial loop ---

    def _is_due(self) -> bool:
        """Whether the next adversarial batch trains the discriminator."""
        return self._positions["adversarial"][1] % self._interval == 0

    def _adversarial_updates(
        self,
        train_discriminator: Callable[[int], tuple[Scalar, Scalar]],
        train_generator: Callable[[int], tuple[Scalar, Scalar]],
    ) -> None:
        """Train both networks on one batch, the discriminator at intervals, and take the time.

        Args:
            train_discriminator: makes the update of a number on this batch; returns loss and accuracy.
            train_generator: makes the update of a number on this batch; returns loss and mean reward.

        """
        started = time.perf_counter()
        if self._is_due():
            for number in range(self.config.d_steps):
                self._d_loss, self._d_accuracy = train_discriminator(number)
        # A batch without an update of the discriminator repeats the figures of the last, as the documents' loop does.
        self._keep_loss("discriminator_losses", self._d_loss)
        self._keep_accuracy("discriminator_accuracies", self._d_accuracy)
        for number in range(self.config.g_steps):
            g_loss, reward = train_generator(number)
        self._keep_loss("generator_losses", g_loss)
        self._keep_reward("rewards", reward)
        self.batch_seconds.append(time.perf_counter() - started)
        num_done = self._positions["adversarial"][1] + 1
        if num_done % BATCHES_PER_LINE == 0:
            latest = self.batch_seconds[-BATCHES_PER_LINE:]
            figures = [self._fetched(figure) for figure in (g_loss, self._d_loss, self._d_accuracy, reward)]
            ms_per_batch = 1000 * sum(latest) / len(latest)
            self.log(f"{batch_line(num_done, figures)} | \N{HIGH VOLTAGE SIGN}{ms_per_batch:.1f}ms/batch")

    # --- The temperature ---

    @staticmethod
    def _over_temperature(logits_BTV: Any, temperature: Scalar | float) -> Any:
        return logits_BTV / temperature

    @staticmethod
    def _unscaled(logits_BTV: Any, _: Scalar | float) -> Any:
        return logits_BTV

    def _annealed(self, epoch: int) -> float:
        config = self.config
        return annealed_temperature(config.temp_start, config.temp_end, config.temp_decay, epoch)

    @staticmethod
    def _constant_temperature(_: int) -> float:
        return 1.0

    def _set_temperature(self, epoch: int) -> None:
        with self._on_device():
            self._temperature = self._as_argument(self._temperature_of_epoch(epoch))

    @property
    def temperature(self) -> float:
        """Divisor of the generator's logits in the adversarial epoch that the trainer is in."""
        return self._temperature_of_epoch(self._positions["adversarial"][0])

    def _announce(self, phase: str, epoch: int) -> None:
        self._epoch_started = time.perf_counter()
        if phase == "adversarial":
            self._set_temperature(epoch)
            self.log(f"Epoch {epoch + 1}/{self.config.adversarial_epochs} | Temperature: {self.temperature:.3f}")

    # --- Figures that stay on the device ---

    def _keep_now(self, name: str, scalar: Scalar) -> None:
        self._record(name, self._fetched(scalar))

    def _keep_for_later(self, name: str, scalar: Scalar) -> None:
        # With the series of the call that it belongs to, for another call may have begun when it is fetched.
        self._pending.append((name, scalar, self._series))

    def _ignore_applied(self, network: str, applied: Scalar) -> None:
        pass

    def _keep_applied_now(self, network: str, applied: Scalar) -> None:
        self._count_applied(network, self._figures, applied=bool(self._fetched(applied)))
        self._check_skips()

    def _keep_applied_for_later(self, network: str, applied: Scalar) -> None:
        self._pending_applied.append((network, applied, self._figures))

    def _fetch(self) -> None:
        """Fetch all figures that wait on the device: one transfer for each kind of figure."""
        pending, self._pending = self._pending, []
        for name in dict.fromkeys(name for name, *_ in pending):
            ours = [(scalar, series) for each, scalar, series in pending if each == name]
            values = self._fetched_together([scalar for scalar, _ in ours])
            self._epoch_series[self._phase][name].extend(values)
            for value, (_, series) in zip(values, ours, strict=True):
                series[name].append(value)
        applied, self._pending_applied = self._pending_applied, []
        if applied:
            flags = self._fetched_together([flag for _, flag, _ in applied])
            for flag, (network, _, figures) in zip(flags, applied, strict=True):
                self._count_applied(network, figures, applied=flag)

    def _count_applied(self, network: str, figures: dict[str, Any], *, applied: bool) -> None:
        figures["num_skipped_steps"] += not applied
        # Past the cap it is not reset by a later update: what was skipped in a row is an error whenever it is seen.
        if self._consecutive_skips[network] < self.config.max_consecutive_skips:
            self._consecutive_skips[network] = 0 if applied else self._consecutive_skips[network] + 1

    def _check_skips(self) -> None:
        cap = self.config.max_consecutive_skips
        networks = [network for network, num_skips in self._consecutive_skips.items() if num_skips >= cap]
        if networks:
            what = f"{cap} updates of the {' and of the '.join(networks)} in a row had gradients that are not finite"
            raise TooManySkips(what, "training", "continue from an earlier checkpoint with a lower learning rate")

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Figures of the last call, see `PhasedTrainer.metrics`, and the `temperature`; fetches those that wait.

        Raises:
            TooManySkips: `max_consecutive_skips` updates of a network were left out in a row.

        """
        self._fetch()
        self._check_skips()
        return {**super().metrics, "temperature": self.temperature}

    def epoch_losses(self, phase: str) -> list[float]:
        """Loss of every step of a phase's current epoch; fetches those that wait on the device."""
        self._fetch()
        return super().epoch_losses(phase)

    def _begin_call(self, phase: str) -> None:
        # Figures wait for the end of their epoch; only those of another phase would be filed in the wrong place.
        if getattr(self, "_phase", phase) != phase:
            self._fetch()
        super()._begin_call(phase)

    def _begin_epoch(self, phase: str, epoch: int) -> None:
        self._fetch()
        self._check_skips()
        super()._begin_epoch(phase, epoch)

    def _end_epoch(self, phase: str) -> None:
        self._fetch()
        self._check_skips()
        super()._end_epoch(phase)

    # --- The lines of the documents ---

    def _summarize(self) -> None:
        mean = {name: float(np.mean(values)) for name, values in self._epoch_series["adversarial"].items()}
        self._final_accuracy = mean["discriminator_accuracies"]
        seconds = time.perf_counter() - self._epoch_started
        mark = " \N{DIRECT HIT}" if self._final_accuracy > _GOOD_ACCURACY else ""
        self.log("\n  \N{BAR CHART} EPOCH SUMMARY:")
        self.log(f"    Generator Loss: {mean['generator_losses']:.4f}")
        self.log(f"    Discriminator Loss: {mean['discriminator_losses']:.4f}")
        self.log(f"    Discriminator Accuracy: {self._final_accuracy:.4f}{mark}")
        self.log(f"    Average Reward: {mean['rewards']:.4f}")
        self.log(f"    Epoch Time: {seconds:.2f}s | Avg Batch: {1000 * seconds / self.num_batches:.1f}ms")

    def final_statistics(self) -> None:
        """Print the documents' lines for the end of the adversarial phase."""
        if not self.batch_seconds:
            return
        times_ms = 1000 * np.array(self.batch_seconds)
        self.log("Performance Stats:")
        self.log(f"  Total batches: {len(times_ms)}")
        self.log(f"  Avg batch time: {times_ms.mean():.1f}ms")
        self.log(f"  Min batch time: {times_ms.min():.1f}ms")
        self.log(f"  Max batch time: {times_ms.max():.1f}ms")
        self.log(f"  Final temperature: {self.temperature:.3f}")
        self.log(f"  Final D accuracy: {self._final_accuracy:.4f}")

    # --- The state ---

    def _progress(self) -> dict[str, Any]:
        self._fetch()
        return {**super()._progress(), "consecutive_skips": dict(self._consecutive_skips)}

    def _load_progress(self, progress: Mapping[str, Any]) -> None:
        super()._load_progress(progress)
        # Figures that wait on the device are of the training before this state.
        self._pending, self._pending_applied = [], []
        self._consecutive_skips = dict(progress["consecutive_skips"])
        series = self._epoch_series["adversarial"]
        if series["discriminator_losses"]:
            self._d_loss = self._on_the_device(series["discriminator_losses"][-1])
            self._d_accuracy = self._on_the_device(series["discriminator_accuracies"][-1])
        self._set_temperature(self._positions["adversarial"][0])
