"""Operations are counted exactly, and a share is that of the timed call, of a ceiling measured here."""

import importlib.util
import sys

import pytest

from speedclaims.record.figure import figure
from speedclaims.recorders import ceilings
from speedclaims.recorders.flops import count as flops
from speedclaims.recorders.flops import tensorflow as flops_tf
from speedclaims.recorders.phases.recorder import saved_words

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="tensorflow is not installed"
)
M, K, N = 7, 11, 5
PRODUCT = 2 * M * K * N


@needs_torch
def test_a_matrix_product_of_pytorch_is_2mnk_and_its_gradients_as_much_each():
    import torch

    left_MK, right_KN = torch.ones(M, K, requires_grad=True), torch.ones(K, N, requires_grad=True)
    assert flops.flops_per_call(lambda: left_MK @ right_KN)["value"] == PRODUCT
    assert flops.flops_per_call(lambda: (left_MK @ right_KN).sum().backward())["value"] == 3 * PRODUCT


@needs_torch
def test_a_compiled_call_of_pytorch_is_counted_too():
    import torch

    step = torch.compile(lambda left_MK: left_MK @ torch.ones(K, N), backend="eager")
    step(torch.ones(M, K))
    assert flops.flops_per_call(lambda: step(torch.ones(M, K)))["value"] == PRODUCT


@needs_torch
def test_operations_are_counted_without_libraries_whose_fused_ones_the_counter_does_not_know():
    import torch

    cudnn, mkldnn, seen = torch.backends.cudnn, torch.backends.mkldnn, []

    def settings():
        return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, mkldnn.enabled

    def call():
        seen.append((cudnn.enabled, mkldnn.enabled))
        return torch.ones(M, K) @ torch.ones(K, N)

    def fail():
        call()
        raise ZeroDivisionError

    with cudnn.flags(enabled=True, benchmark=True, deterministic=True, allow_tf32=False):
        before = settings()
        assert flops.flops_per_call(call)["value"] == PRODUCT
        with pytest.raises(ZeroDivisionError):
            flops.flops_per_call(fail)
        assert seen == [(False, False)] * 2
        assert settings() == before


def _lstm_call(device):
    import torch

    lstm = torch.nn.LSTM(K, N, num_layers=2, batch_first=True).to(device)
    inputs_BTK = torch.ones(2, 3, K, device=device, requires_grad=True)
    return lambda: lstm(inputs_BTK)[0].sum().backward()


@needs_torch
def test_an_lstm_is_its_matrix_products_and_their_gradients():
    recurrent = 2 * N * 4 * N
    forward = 3 * 2 * (2 * K * 4 * N + 3 * recurrent)  # of three tokens and two sequences, both layers' products
    of_first_states = 2 * 2 * recurrent  # they are zeros, which need no gradient
    assert flops.flops_per_call(_lstm_call("cpu"))["value"] == 3 * forward - of_first_states


@needs_torch
@pytest.mark.gpu
def test_an_lstm_on_a_gpu_counts_as_on_a_cpu():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    assert flops.flops_per_call(_lstm_call("cuda")) == flops.flops_per_call(_lstm_call("cpu"))


@needs_torch
def test_a_call_without_products_has_a_reason_and_no_zero():
    import torch

    found = flops.flops_per_call(lambda: torch.ones(3) + 1)
    assert found["value"] is None
    assert found["reason"] == "the call ran no matrix product and no convolution that could be counted"


def _tensorflow_calls():
    import tensorflow as tf

    left_MK, right_KN = tf.Variable(tf.ones((M, K))), tf.Variable(tf.ones((K, N)))
    images_BHWC, kernel = tf.Variable(tf.ones((2, 8, 6, 3))), tf.Variable(tf.ones((3, 5, 3, 4)))
    convolution = 2 * (2 * 8 * 6 * 4) * (3 * 5 * 3)

    def with_gradients(compute, variables):
        with tf.GradientTape() as tape:
            result = tf.reduce_sum(compute())
        return tape.gradient(result, variables)

    def convolve():
        return tf.nn.conv2d(images_BHWC, kernel, 1, "SAME")

    graph = tf.function(lambda: with_gradients(lambda: left_MK @ right_KN, [left_MK, right_KN]))
    graph()
    square = tf.ones((4, 4))
    return {
        "product": (lambda: left_MK @ right_KN, PRODUCT),
        "transposed": (lambda: tf.matmul(left_MK, tf.transpose(right_KN), transpose_b=True), PRODUCT),
        "transposed left": (lambda: tf.matmul(tf.transpose(left_MK), right_KN, transpose_a=True), PRODUCT),
        "batched": (lambda: tf.matmul(tf.ones((3, M, K)), tf.ones((3, K, N))), 3 * PRODUCT),
        "einsum": (lambda: tf.einsum("mk,kn->mn", left_MK, right_KN), PRODUCT),
        "einsum with dots": (lambda: tf.einsum("...mk,kn->...mn", tf.ones((2, 3, M, K)), right_KN), 6 * PRODUCT),
        "a graph with gradients": (graph, 3 * PRODUCT),
        "convolution": (convolve, convolution),
        "its gradients": (lambda: with_gradients(convolve, [images_BHWC, kernel]), 3 * convolution),
        "loop in a graph": (
            tf.function(lambda: tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x @ x), (0, square))),
            3 * 2 * 4**3,
        ),
    }


@needs_tensorflow
def test_operations_of_tensorflow_are_counted_as_pytorchs():
    import tensorflow as tf

    found = {name: flops.flops_per_call(call)["value"] for name, (call, _) in _tensorflow_calls().items()}
    assert found == {name: expected for name, (_, expected) in _tensorflow_calls().items()}
    assert not tf.config.functions_run_eagerly()
    nothing = flops.flops_per_call(lambda: tf.ones(3) + 1)
    assert (nothing["value"], bool(nothing["reason"])) == (None, True)


def test_an_operation_that_hides_others_is_no_low_count():
    count = flops_tf.Count()
    count.note("CudnnRNNV3", [], {}, [])
    with pytest.raises(flops_tf.NotCountedError, match="CudnnRNNV3 hides its operations"):
        count.total()


@needs_tensorflow
def test_what_hides_its_operations_is_a_reason_in_the_figure(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(flops_tf, "_OPAQUE", ("MatMul",))
    found = flops.flops_per_call(lambda: tf.ones((2, 2)) @ tf.ones((2, 2)))
    assert found["value"] is None
    assert found["reason"].startswith("MatMul hides its operations")


def test_without_a_framework_there_is_a_reason(monkeypatch):
    for name in ("torch", "tensorflow", "tensorflow.python.framework.ops"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    reason = "neither PyTorch nor TensorFlow is imported"
    assert flops.flops_per_call(lambda: None)["reason"].startswith(reason)
    found = ceilings.measure("cpu")
    assert (found["framework"], found["copy"]["value"]) == (None, None)
    highest = flops.highest(found)
    assert (highest["value"], highest["reason"].startswith(reason)) == (None, True)


ROW = {"work": "same", "calls_before": 1, "calls_after": 1, "before_s": 2.0, "after_s": 0.5}
COUNTED, CEILING = figure(1e9, "FLOP"), figure(1e10, "FLOP/s")
FEWER = figure(5e8, "FLOP")


def of_pair(row=ROW, before=COUNTED, after=FEWER, ceiling=CEILING):
    return flops.of_pair(row, (before, after), ceiling, "too much")


def test_a_share_is_of_the_count_and_the_timed_seconds_of_each_side():
    found = of_pair()
    assert (found["before"]["value"], found["after"]["value"]) == (1e9, 5e8)
    assert found["share"]["before"]["value"] == pytest.approx(5)
    assert found["share"]["after"]["value"] == pytest.approx(10)
    assert found["share"]["after"]["unit"] == "percent"


def test_no_share_is_above_the_whole():
    at_most = figure(5e9, "FLOP")
    assert of_pair(after=at_most)["share"]["after"]["value"] == 100
    share = of_pair(after=figure(5.5e9, "FLOP"))["share"]["after"]
    assert (share["value"], share["reason"]) == (None, "110% of the ceiling is impossible: too much")


def test_where_one_call_after_does_the_work_of_several_before_so_does_an_amount_of_either_side():
    row = {**ROW, "calls_before": 5, "calls_after": 2}
    before, after = flops.of_either_side(row, COUNTED)
    assert (before["value"], after["value"]) == (1e9, 2.5e9)
    assert of_pair(row, before, after)["share"]["after"]["value"] == pytest.approx(50)


@pytest.mark.parametrize("work", ["less", "different"])
def test_an_amount_of_either_side_says_nothing_of_a_side_that_does_other_work(work):
    before, after = flops.of_either_side({**ROW, "work": work}, COUNTED)
    assert before["value"] == 1e9
    reason = f"counted on the before side only, and the after side does {work} work"
    assert (after["value"], after["reason"]) == (None, reason)
    share = of_pair(before=before, after=after)["share"]["after"]
    assert (share["value"], share["reason"]) == (None, reason)


def test_what_is_missing_is_the_reason_of_the_share():
    for counted, ceiling, row, reason in (
        (figure(None, "FLOP", "not counted"), CEILING, ROW, "not counted"),
        (COUNTED, figure(None, "FLOP/s", "no ceiling"), ROW, "no ceiling"),
        (COUNTED, CEILING, {**ROW, "before_s": None}, "the call was not timed"),
    ):
        share = of_pair(row, counted, FEWER, ceiling)["share"]["before"]
        assert (share["value"], share["reason"]) == (None, reason)


@pytest.mark.parametrize(
    ("after", "calls", "saved", "words"),
    [
        (5e8, (1, 1), 0.5, "50% of the work saved"),
        (5e8, (1, 2), None, ""),
        (1e9, (1, 1), None, ""),
        (1e9, (250, 100), 0.6, "60% of the work saved"),
        (1.25e9, (1, 1), -0.25, "25% more work"),
        (None, (1, 1), None, ""),
    ],
)
def test_work_saved_compares_the_wholes(after, calls, saved, words):
    counted = figure(after, "FLOP", None if after else "not counted")
    row = {"calls_before": calls[0], "calls_after": calls[1], "flops": {"before": COUNTED, "after": counted}}
    assert flops.work_saved(row) == (None if saved is None else pytest.approx(saved))
    assert saved_words(row) == words


def _frameworks():
    return [name for name in ("torch", "tensorflow") if importlib.util.find_spec(name)]


@pytest.mark.parametrize("name", _frameworks())
def test_ceilings_are_measured(name, monkeypatch):
    importlib.import_module(name)
    monkeypatch.setattr(ceilings, "framework", lambda: name)
    found = ceilings.measure("cpu", size=64, copy_bytes=2**20)
    assert (found["framework"], found["device"]) == (name, "cpu")
    assert list(found["matmul"]) == ["float32", "bfloat16"]
    rates = [*found["matmul"].values(), found["copy"]]
    assert all(rate["value"] > 1e5 for rate in rates)
    assert [rate["unit"] for rate in rates] == ["FLOP/s", "FLOP/s", "B/s"]
    assert flops.highest(found)["value"] == max(rate["value"] for rate in found["matmul"].values())


def test_the_fastest_try_counts_and_the_first_does_not(monkeypatch):
    now, lengths = [0.0], iter([9.0, 0.4, 0.2, 0.8, 0.7, 5.0])

    def call():
        now[0] += next(lengths)

    monkeypatch.setattr(ceilings.clock, "timer", lambda: lambda: now[0])
    assert ceilings._rate(lambda: call, 10.0, "FLOP/s")["value"] == pytest.approx(50)
    assert next(lengths) == 5.0, "two seconds were enough"


@needs_torch
def test_what_cannot_be_multiplied_here_has_a_reason():
    import torch

    def prepare():
        message = "CUDA out of memory\nwith more lines"
        raise torch.OutOfMemoryError(message)

    found = ceilings._rate(prepare, 1.0, "FLOP/s")
    assert (found["value"], found["reason"]) == (None, "it could not be measured here: CUDA out of memory")
