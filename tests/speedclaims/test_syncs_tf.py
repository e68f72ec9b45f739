"""Synchronizations of TensorFlow are counted exactly, with the line that causes each."""

import sys

import numpy as np
import pytest

from speedclaims.recorders.syncs_tf import counting_syncs
from trainers.contract import BadInput
from trainers.tensorflow_runtime import require_tensorflow

try:
    require_tensorflow()
except BadInput as error:
    pytest.skip(str(error), allow_module_level=True)
import tensorflow as tf


@pytest.mark.parametrize(
    "ask",
    [
        lambda tensor: tensor.numpy(),
        float,
        int,
        bool,
        lambda tensor: f"{tensor:.3f}",
        lambda tensor: range(int(tensor)),
        lambda tensor: np.array([tensor.numpy()]),
        lambda tensor: 1 if tensor else 2,
        lambda tensor: [0, 1, 2][tensor],
    ],
    ids=["numpy", "float", "int", "bool", "format", "range", "array", "if", "index"],
)
def test_every_way_to_a_value_counts_once(ask):
    tensor = tf.constant(1)
    with counting_syncs() as syncs:
        ask(tensor)
    assert syncs.own.total() == 1
    assert syncs.internal == 0


def test_what_asks_for_no_value_counts_nothing():
    tensor = tf.constant([1.0, 2.0])
    with counting_syncs() as syncs:
        tf.reduce_sum(tensor * 2 + 1)
        _ = tensor.shape, tensor.dtype, len(tensor.shape)
    assert syncs.own.total() == syncs.internal == 0


def test_the_line_that_asks_is_named():
    tensor = tf.constant(1.0)
    with counting_syncs() as syncs:
        for _ in range(3):
            tensor.numpy()
        line = sys._getframe().f_lineno - 1
        float(tensor)
    assert syncs.own == {f"{__file__}:{line}": 3, f"{__file__}:{line + 2}": 1}


def test_what_the_framework_asks_itself_is_counted_apart():
    tensor = tf.constant([1.0, 2.0])
    with counting_syncs() as syncs:
        tf.get_static_value(tensor)
        repr(tensor)
    assert (syncs.internal, syncs.own.total()) == (1, 1)


def test_after_the_count_everything_is_as_before():
    tensor = tf.constant(1.0)
    before = type(tensor)._numpy
    with pytest.raises(ZeroDivisionError), counting_syncs():
        _ = 1 / 0
    assert type(tensor)._numpy is before


def test_without_tensorflow_the_count_says_so(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow.python.framework.ops")
    with pytest.raises(RuntimeError, match="not imported"), counting_syncs():
        pass


@pytest.mark.parametrize("num_batches", [1, 9, 10, 13])
def test_the_reference_dialogue_gan_asks_4_times_a_batch_and_4_times_every_tenth(private_cache, num_batches):
    from trainers.dialogue_gan import build

    trainer = build("reference", preset="tiny", log=lambda _: None)
    trainer.train_steps(1, "adversarial")
    trainer.load_state(build("reference", preset="tiny", log=lambda _: None).state())
    num_batches = min(num_batches, trainer.num_batches)
    with counting_syncs() as syncs:
        trainer.train_steps(num_batches, "adversarial")
    assert syncs.own.total() == 4 * num_batches + 4 * (num_batches // 10)
    assert all("dialogue_gan/reference.py" in place for place in syncs.own)
