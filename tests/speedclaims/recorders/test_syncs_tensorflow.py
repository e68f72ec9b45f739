"""Synchronizations of TensorFlow are counted exactly, with the line that causes each."""

import sys

import numpy as np
import pytest

from speedclaims.recorders.syncs.tensorflow import counting_syncs
from trainers.contract import BadInput
from trainers.tensorflow.runtime import require_tensorflow

try:
    require_tensorflow()
except BadInput as error:
    pytest.skip(str(error), allow_module_level=True)
import tensorflow as tf

from speedclaims.recorders.syncs import recorder as syncs_record


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
        np.asarray,
        np.array,
        np.mean,
        np.isnan,
        memoryview,
        lambda tensor: np.asarray(memoryview(tensor)),
        bytes,
        lambda tensor: tensor.__array__(),
        lambda tensor: tensor.__dlpack__(),
        np.from_dlpack,
        tf.experimental.dlpack.to_dlpack,
        lambda tensor: tensor.cpu(),
        lambda tensor: tf.Variable(tensor).numpy(),
        lambda tensor: float(tf.Variable(tensor)),
        lambda tensor: np.asarray(tf.Variable(tensor)),
        lambda tensor: np.asarray(tf.cast([tensor], tf.bfloat16)),
        lambda tensor: print(tensor, file=sys.stderr),  # noqa: T201 - one of the hidden ways
    ],
    ids=[
        *("numpy", "float", "int", "bool", "format", "range", "array", "if", "index", "np.asarray", "np.array"),
        *("np.mean", "np.isnan", "memoryview", "array of memoryview", "bytes", "__array__", "__dlpack__"),
        *("from_dlpack", "to_dlpack", "cpu", "variable", "float of variable", "array of variable"),
        *("array of bfloat16", "print"),
    ],
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
    with pytest.raises(ZeroDivisionError), counting_syncs() as syncs:
        _ = 1 / 0
    assert type(tensor)._numpy is before
    np.asarray(tensor)
    assert syncs.own.total() == 0


def test_a_tensor_taken_by_its_buffer_outlives_the_count():
    with counting_syncs():
        view, array = memoryview(tf.constant([1, 2])), np.asarray(tf.constant([3, 4]))
    assert (view.tolist(), array.tolist()) == ([1, 2], [3, 4])


def test_where_the_buffer_protocol_cannot_be_watched_nothing_is_counted(monkeypatch):
    from speedclaims.recorders.syncs import tensorflow as syncs_tf

    monkeypatch.setattr(syncs_tf, "_FIELDS_BEFORE", syncs_tf._FIELDS_BEFORE + 3)
    with pytest.raises(RuntimeError, match="cannot be watched"), counting_syncs():
        pass


def test_without_tensorflow_the_count_says_so(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow.python.framework.ops")
    with pytest.raises(RuntimeError, match="not imported"), counting_syncs():
        pass


def test_where_both_frameworks_are_imported_both_are_counted():
    torch = pytest.importorskip("torch")
    with syncs_record.counting_syncs() as counted:
        float(tf.constant(1.0))
        float(torch.tensor(1.0))
    assert (counted.own.total(), len(counted.own), counted.internal) == (2, 2, 0)


@pytest.fixture(scope="module")
def reference(private_cache):
    """A trainer whose graphs are traced, and its first state."""
    from trainers.dialogue_gan import FAMILY

    assert private_cache.is_dir()
    trainer = FAMILY.build("reference", preset="tiny", sequence_length=3, num_lines=16, log=lambda _: None)
    start = trainer.state()
    trainer.train_steps(1, "adversarial")
    return trainer, start


@pytest.mark.parametrize("num_batches", [1, 9, 10, 13])
def test_the_reference_dialogue_gan_asks_5_times_a_batch_and_4_times_every_tenth(reference, num_batches):
    trainer, start = reference
    trainer.load_state(start)
    assert trainer.num_batches >= num_batches, "all in one epoch"
    with counting_syncs() as syncs:
        trainer.train_steps(num_batches, "adversarial")
    # Four figures, and the length of the fake sequences, which the sampler asks for.
    assert syncs.own.total() == 5 * num_batches + 4 * (num_batches // 10)
    assert sum(count for place, count in syncs.own.items() if "dialogue_gan/model.py" in place) == num_batches
    assert all("dialogue_gan/" in place for place in syncs.own)
