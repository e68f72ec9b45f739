"""Share the batches of a training among workers: each takes its rows, and all get the mean over the whole batch.

All workers together compute what one computes: batches, their order and random numbers are those of the whole batch,
and gradients are summed before anything is made of them, so that a training may continue with another number of
workers. What each worker draws for the whole batch, and uses a part of, is the price.

Shape suffix: B rows of the whole batch or of a part of it.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainers.contract import BadInput

__all__ = ["Part", "Workers", "naming_lost_workers"]

_LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)  # fmt: skip
"""Errors of a collective operation when a worker has died or left, or was started again."""


class Part(NamedTuple):
    """Hold the rows of a batch that this worker takes, as scalars on the device.

    Attributes:
        first: number of the first row, int32.
        end: number after the last row, int32.
        num_rows: rows of the whole batch, int32.
        weight: what a mean over these rows counts for in that over the whole batch, float32.

    """

    first: tf.Tensor
    end: tf.Tensor
    num_rows: tf.Tensor
    weight: tf.Tensor

    def of(self, whole_B: tf.Tensor) -> tf.Tensor:
        """Return this worker's rows of the whole batch's."""
        return whole_B[self.first : self.end]

    def drawn(self, draw: Callable[[tf.Tensor], tf.Tensor], shape: tf.Tensor) -> tf.Tensor:
        """Draw random numbers for the whole batch, and return those of this worker's rows.

        Args:
            draw: returns random numbers of a shape, the same on all workers.
            shape: of the result; its first number is that of this worker's rows.

        """
        return self.of(draw(tf.concat([[self.num_rows], shape[1:]], 0)))


class Workers:
    """Hold this process's place among the workers of a training, and what the workers do together.

    Without a strategy the process trains alone, where nothing is changed, and nothing is sent.

    Args:
        strategy: a `tf.distribute.MultiWorkerMirroredStrategy` with one device a worker.

    Attributes:
        num: how many workers there are.
        index: number of this one, from 0.

    """

    def __init__(self, strategy: Any = None) -> None:
        """Ask the strategy for the place."""
        self._strategy, self.num, self.index = strategy, 1, 0
        if strategy is not None:
            places = strategy.experimental_distribute_values_from_function(lambda each: each.replica_id_in_sync_group)
            (self.index,) = strategy.experimental_local_results(places)
            self.num = strategy.num_replicas_in_sync
        self._sum = tf.function(self._sum_in_graph, autograph=False, reduce_retracing=True)

    @classmethod
    def here(cls) -> "Workers":
        """Return the workers of the strategy in whose scope this is called; alone outside of any."""
        return cls(tf.distribute.get_strategy() if tf.distribute.has_strategy() else None)

    @property
    def is_first(self) -> bool:
        """Whether this worker writes the files and the lines."""
        return self.index == 0

    # Converted by AutoGraph, which they do not need, these two would take longer to trace than the rest of a step.
    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator] # TensorFlow has no types
    def split(self, *arrays_B: tf.Tensor) -> tuple[Part | None, tuple[tf.Tensor, ...]]:
        """Return which rows of a batch this worker takes, and these rows; alone, None and the batch.

        Of fewer rows than workers each worker takes all, but only the first worker's count: the rows of an embedding's
        gradient are squared one by one, so that several workers must not have a part in each.
        """
        if self._strategy is None:
            return None, arrays_B
        num_rows = tf.shape(arrays_B[0])[0]
        first, end = (num_rows * number // self.num for number in (self.index, self.index + 1))
        weight = tf.cast(end - first, tf.float32) / tf.cast(num_rows, tf.float32)
        has_too_few = num_rows < self.num
        part = Part(
            tf.where(has_too_few, 0, first),
            tf.where(has_too_few, num_rows, end),
            num_rows,
            tf.where(has_too_few, float(self.is_first), weight),
        )
        return part, tuple(map(part.of, arrays_B))

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator] # likewise
    def mean(self, part: Part | None, *of_rows: Any) -> tuple[Any, ...]:
        """Return means over the whole batch of what are means over this worker's rows; alone, what it is given.

        Args:
            part: this worker's rows, from `split`.
            of_rows: figures and gradients, tensors or `tf.IndexedSlices`, of the same shapes on all workers.

        Returns:
            The same on all workers, in the same order. `IndexedSlices` have the rows of all workers.

        """
        if part is None:
            return of_rows
        return tuple(self._sum([_times(each, part.weight) for each in of_rows]))

    def gather(self, number: int) -> list[int]:
        """Return the whole numbers that the workers call this with, in the workers' order; each waits for all."""
        if self._strategy is None:
            return [number]
        numbers = np.zeros(self.num, np.int64)
        numbers[self.index] = number
        (found,) = self._sum([tf.constant(numbers)])
        gathered: list[int] = found.numpy().tolist()
        return gathered

    def largest(self, number: int) -> int:
        """Return the largest of the whole numbers that the workers call this with."""
        return max(self.gather(number))

    def check_alike(self, number: int) -> None:
        """Refuse workers that do not train the same.

        Args:
            number: made of all that must be the same.

        Raises:
            BadInput: the workers call this with different numbers.

        """
        if len(set(self.gather(number))) > 1:
            mend = "give all workers the same options, data and checkpoint"
            raise BadInput("the workers do not begin the same training", "TF_CONFIG", mend)

    def has_lost_one(self, error: Exception) -> bool:
        """Whether an error says that another worker has died or left."""
        return self._strategy is not None and isinstance(error, _LOST)

    def _sum_in_graph(self, values: list[Any]) -> list[Any]:
        def of_replica() -> Any:
            # A collective operation asks its inputs for their device, which they have of this scope only.
            placed = tf.nest.map_structure(tf.identity, values, expand_composites=True)
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, placed)

        summed: list[Any] = self._strategy.run(of_replica)
        return summed


@contextlib.contextmanager
def naming_lost_workers() -> Iterator[None]:
    """Turn the errors that the block raises when another worker has died or left into one line.

    Raises:
        BadInput: another worker has.

    """
    try:
        yield
    except _LOST as error:
        mend = "start all of them again, with --resume if there is a checkpoint"
        raise BadInput("another one has ended or cannot be reached", "workers", mend) from error


def _times(value: Any, factor: tf.Tensor) -> Any:
    if isinstance(value, tf.IndexedSlices):
        return tf.IndexedSlices(value.values * factor, value.indices, value.dense_shape)
    return value * factor
