"""TensorFlow's patches for phases: an eager training, a graph as one bar, and everything restored."""

import pytest

from speedclaims.recorders.phases import stopwatch as profile
from speedclaims.recorders.phases import tensorflow as profile_tf
from speedclaims.recorders.phases.stopwatch import (
    BACKWARD,
    COMPILED,
    DATA_WAIT,
    FORWARD,
    HOST_SYNC,
    OPTIMIZER,
    OTHER,
    Phases,
)

tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402 - it comes with TensorFlow

from speedclaims.recorders.phases import recorder as phases_record  # noqa: E402 - likewise


class Training:
    """A training of one epoch, eager or with its step as a graph."""

    def __init__(self, *, compiled=False):
        self.net = keras.Sequential([keras.layers.Dense(8), keras.Sequential([keras.layers.Dense(1)])])
        self.net.build((None, 4))
        self.optimizer = keras.optimizers.Adam()
        self.optimizer.build(self.net.trainable_variables)
        self.data = tf.data.Dataset.from_tensor_slices(tf.ones((16, 4))).batch(4)
        self.step = tf.function(self.take_step) if compiled else self.take_step
        self.losses = []

    def take_step(self, rows_BF):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.net(rows_BF) ** 2)
        gradients = tape.gradient(loss, self.net.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.net.trainable_variables, strict=True))
        return loss

    def __call__(self):
        for rows_BF in self.data:
            self.losses.append(float(self.step(rows_BF)))


@pytest.mark.parametrize(
    ("compiled", "expected"),
    [
        (False, {DATA_WAIT, FORWARD, BACKWARD, OPTIMIZER, HOST_SYNC, OTHER}),
        (True, {DATA_WAIT, COMPILED, HOST_SYNC, OTHER}),
    ],
    ids=["eager", "tf.function"],
)
def test_every_phase_of_a_training_is_seen_and_they_sum_to_the_call(compiled, expected):
    training = Training(compiled=compiled)
    training()
    phases = Phases()
    with profile_tf.watching(phases):
        phases.run(training)
    assert {name for name, ns in phases.ns.items() if ns} == expected
    found = phases_record.profile_side(lambda: None, training, "cpu")
    spent = {one["name"]: one["seconds"] for one in found["phases"]}
    assert sum(spent.values()) == pytest.approx(found["wall_s"]["value"], rel=1e-12)
    assert found["busy"]["reason"] == "the busy fraction is of a GPU: this ran on the CPU"
    assert len(training.losses) == 12


def test_tracing_inside_the_call_is_part_of_the_compiled_step():
    training = Training(compiled=True)
    phases = Phases()
    with profile_tf.watching(phases):
        phases.run(training)
    assert not {FORWARD, BACKWARD, OPTIMIZER} & {name for name, ns in phases.ns.items() if ns}


def test_nested_layers_are_one_forward():
    net = Training().net
    ticks = iter(range(1000))
    phases = Phases(lambda: next(ticks))
    with profile_tf.watching(phases):
        phases.run(lambda: net(tf.ones((2, 4))))
    assert {name: ns for name, ns in phases.ns.items() if ns} == {FORWARD: 1, OTHER: 2}


def test_everything_is_put_back_also_after_an_exception():
    methods = [*profile_tf._methods(tf), *profile_tf._keras_methods()]
    assert {phase for _, _, phase in methods} == {DATA_WAIT, FORWARD, BACKWARD, OPTIMIZER, HOST_SYNC, COMPILED}
    before = [vars(kind)[name] for kind, name, _ in methods]
    with pytest.raises(KeyError), profile_tf.watching(Phases()):  # noqa: PT012 - what the block holds meanwhile is asserted too
        assert not [real for real, (kind, name, _) in zip(before, methods, strict=True) if vars(kind)[name] is real]
        raise KeyError
    assert [vars(kind)[name] for kind, name, _ in methods] == before


def test_a_real_profile_is_read(tmp_path):
    tf.profiler.experimental.start(str(tmp_path))
    tf.linalg.matmul(tf.ones((64, 64)), tf.ones((64, 64)))
    tf.profiler.experimental.stop()
    space = profile_tf.read_profile(tmp_path)
    on_host = profile_tf.kernel_intervals(space, plane_prefix="/host:CPU", line_prefix="")
    assert on_host
    assert all(0 < end - start < 60 for start, end in on_host if end > start)
    assert 0 < profile.union_length(on_host) < 60
    assert profile_tf.kernel_intervals(space) == []


def test_the_kernels_are_those_of_the_gpus_streams_without_copies():
    space = profile_tf.find_format().XSpace()
    gpu, host = (space.planes.add(name=name) for name in ("/device:GPU:0", "/host:CPU"))
    for number, name in enumerate(("volta_sgemm", "MemcpyH2D", "summary")):
        for plane in (gpu, host):
            plane.event_metadata[number].id, plane.event_metadata[number].name = number, name
    for plane in (gpu, host):
        stream = plane.lines.add(name="Stream #14(Compute)", timestamp_ns=2_000_000_000)
        for number, offset in ((0, 10**11), (1, 5 * 10**11)):
            stream.events.add(metadata_id=number, offset_ps=offset, duration_ps=2 * 10**11)
        plane.lines.add(name="XLA Ops").events.add(metadata_id=2, offset_ps=0, duration_ps=10**13)
    assert profile_tf.kernel_intervals(space) == [pytest.approx((2.1, 2.3))]


def test_without_a_profile_or_a_gpu_there_is_a_reason(tmp_path):
    with pytest.raises(profile.ProfilerError, match="left no profile"):
        profile_tf.read_profile(tmp_path)
    if tf.config.list_logical_devices("GPU"):
        pytest.skip("there is a GPU")
    found = phases_record._busy_percent([profile_tf], lambda: None, lambda: None, "cuda")
    assert found["reason"] == "TensorFlow has no GPU here: there are no kernels to profile"
