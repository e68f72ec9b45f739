"""Clipping by the norm of all gradients together, for TensorFlow.

The PyTorch half lives in `clipping`, because no module may import both frameworks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow as tf

__all__ = ["Clipped", "clip_by_global_norm", "dense_norm"]

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None


@dataclass(frozen=True)
class Clipped:
    """Outcome of one clipping.

    Attributes:
        gradients: the clipped ones, in the order they came in; None where there was none.
        norm: Euclidean norm of all gradients before clipping, a scalar on the gradients' device. Rows of
            `IndexedSlices` that have an index in common count one by one, as in `tf.clip_by_global_norm`; what they
            sum to is `dense_norm`'s to say.
        may_step: whether the clipped gradients mean anything, a boolean on the device. False after an infinite or NaN
            gradient, and when finite gradients are so large that their norm overflows.

    """

    gradients: list[Gradient]
    norm: tf.Tensor
    may_step: tf.Tensor


def clip_by_global_norm(gradients: Sequence[Gradient], limit: float) -> Clipped:
    """Scale gradients by limit / max(norm, limit), the formula of `tf.clip_by_global_norm`; works in graphs too.

    Args:
        gradients: of one optimizer, with None for weights that have none.
        limit: largest norm to leave as it is; infinity leaves every gradient exactly as it is.

    Returns:
        The clipped gradients, their norm before clipping, and whether a step with them may be applied.

    Raises:
        ValueError: the limit is zero, negative or NaN.

    """
    if not limit > 0:
        raise ValueError(f"the limit of a gradient norm must be above 0, not {limit!r}")
    # TensorFlow has no norm of no gradients.
    norm = tf.linalg.global_norm(gradients) if any(each is not None for each in gradients) else tf.zeros(())
    may_step = tf.math.is_finite(norm)
    if math.isinf(limit):
        # Not by TensorFlow's clip: inf * min(1 / norm, 1 / inf) is NaN, and every step would be skipped.
        return Clipped(list(gradients), norm, may_step)
    clipped, _ = tf.clip_by_global_norm(gradients, limit, use_norm=norm)
    return Clipped(clipped, norm, may_step)


def dense_norm(gradients: Sequence[Gradient]) -> tf.Tensor:
    """Norm of all gradients together, after rows of `IndexedSlices` with an index in common were summed."""
    dense = [tf.convert_to_tensor(each) for each in gradients if each is not None]
    return tf.linalg.global_norm(dense) if dense else tf.zeros(())
