"""Document 003: the text-to-image GAN before and after its "performance optimizations", one by one and together."""

import itertools
import signal
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest

from bench.harness.estimates import called_at, paired_difference, paired_readings, variance_ratio
from bench.harness.growth import growth_exponent
from bench.harness.images import IMAGES_IN_BATCHES_ALIKE
from bench.harness.side import exact_arithmetic
from speedclaims.recorders.flops.count import flops_per_call
from speedclaims.recorders.nvml.window import watch
from trainers import family
from trainers.contract import BadInput, Interrupted

IMAGES = {"tiny": 16, "smoke": 32, "default": 512}
"""Images of one call where the batch sizes differ: a multiple of both."""


LOADER_BOUND, TWICE_THE_IMAGES = 4.6, 8.5
"""Times `--speedup-max-time` that six double rounds take where decoding sets the pace, of 256 and of 512 images."""


@pytest.fixture(autouse=True)
def _rounds_enough(request, preset, device) -> None:
    """Time enough for an interval at the original's sizes on a GPU, where a call takes what decoding takes."""
    if (preset, device) == ("default", "cuda") and "in_memory" not in request.node.name:
        times = TWICE_THE_IMAGES if "num_common" in request.fixturenames else LOADER_BOUND
        request.applymarker(pytest.mark.speedup_long(times))


@pytest.fixture
def on_a_gpu(device):
    """Skip on a CPU, whose networks set the pace there: the pairs whose images are decoded answer for them too."""
    if device == "cpu":
        pytest.skip("needs a CUDA device: on a CPU decoding does not hide the networks")


@pytest.fixture(params=["on", "off"])
def tf32(request, on_a_gpu):
    """Whether float32 convolutions round to TF32, as PyTorch lets them by default, or not."""
    del on_a_gpu
    import torch  # noqa: PLC0415 - a machine without it collects these tests

    cudnn = torch.backends.cudnn
    before, cudnn.allow_tf32 = cudnn.allow_tf32, request.param == "on"
    yield request.param
    cudnn.allow_tf32 = before


@pytest.fixture
def num_images(preset):
    """Images of one call, in batches of the same size."""
    return IMAGES_IN_BATCHES_ALIKE[preset]


@pytest.fixture
def num_common(preset):
    """Images of one call that both batch sizes divide."""
    return IMAGES[preset]


@pytest.fixture
def config(preset):
    """The configuration of the preset."""
    return family("text_to_image").config.preset(preset)


@pytest.fixture
def epochs(config):
    """Epochs of a whole training before and after."""
    return config.num_epochs, config.few_epochs


def training_as_published(text_to_image, **chosen: bool):
    """Return the published program as a side; skip the test with its error where it cannot take a step."""
    side = text_to_image.published(**chosen)
    side.reset()  # it keeps the state before the first step, to which every round goes back
    try:
        side.trainer.train_steps(1)
    except BadInput as error:
        pytest.skip(error.what)
    side.reset()
    return side


@pytest.mark.speedup_claim("text-to-image.whole-training", variant="published")
def test_document_003_as_a_whole_training_as_published(text_to_image, num_common, epochs):
    """The program after document 003 as its authors published it against the training before it."""
    text_to_image.images(
        before=text_to_image.reference(), after=training_as_published(text_to_image), num_images=num_common,
        work="less", calls=epochs, rounds="document 003 as published",
    )  # fmt: skip


@pytest.mark.speedup_claim("text-to-image.whole-training", variant="done right")
def test_document_003_as_a_whole_training(text_to_image, num_common, epochs):
    """All of document 003 against the training before it: larger batches of smaller images, and fewer epochs."""
    text_to_image.images(
        before=text_to_image.reference(), after=text_to_image.optimized(), num_images=num_common, work="less",
        calls=epochs, rounds="document 003",
    )  # fmt: skip


@pytest.mark.speedup_claim("text-to-image.whole-epoch", variant="published")
def test_document_003_by_the_epoch_as_published(text_to_image, num_common):
    """An epoch of the program after document 003 as its authors published it against one before it."""
    text_to_image.images(
        before=text_to_image.reference(), after=training_as_published(text_to_image), num_images=num_common,
        work="less", rounds="document 003 as published",
    )  # fmt: skip


@pytest.mark.speedup_claim("text-to-image.whole-epoch", variant="done right")
def test_document_003_by_the_epoch(text_to_image, num_common):
    """An epoch of document 003's against one before it: as many images, but smaller ones in larger batches."""
    text_to_image.images(
        before=text_to_image.reference(), after=text_to_image.optimized(), num_images=num_common, work="less",
        rounds="document 003",
    )  # fmt: skip


@pytest.mark.usefixtures("on_a_gpu")
def test_document_003_by_the_epoch_in_memory(text_to_image, num_common):
    """As many images, but smaller ones in larger batches, in memory already: the networks alone."""
    text_to_image.images(
        before=text_to_image.reference(), after=text_to_image.optimized(), num_images=num_common, is_held=True,
        work="less",
    )  # fmt: skip


SAME_WORK = {"fewer_epochs": False, "larger_batches": False, "smaller_images": False}


@pytest.mark.speedup_claim("text-to-image.whole-same-work", variant="published")
def test_document_003_on_the_same_work_as_published(text_to_image, num_images):
    """The published program's mixed precision and fewer log lines, which leave the work as it is."""
    text_to_image.images(
        before=text_to_image.reference(), after=training_as_published(text_to_image, **SAME_WORK),
        num_images=num_images,
    )  # fmt: skip


@pytest.mark.speedup_passes("syncs", "gpu", "profile")
@pytest.mark.speedup_claim("text-to-image.whole-same-work", variant="done right")
def test_document_003_on_the_same_work(text_to_image, num_images):
    """The changes of document 003 that leave the work as it is: mixed precision and fewer log lines."""
    text_to_image.images(
        before=text_to_image.reference(),
        after=text_to_image.restructured(mixed_precision=True, sparse_logging=True),
        num_images=num_images,
    )


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.speedup_passes("gpu", "profile")
def test_document_003_on_the_same_work_in_memory(text_to_image, num_images):
    """The changes of document 003 that leave the work as it is, with images in memory: the networks alone."""
    text_to_image.images(
        before=text_to_image.reference(),
        after=text_to_image.restructured(mixed_precision=True, sparse_logging=True),
        num_images=num_images, is_held=True,
    )  # fmt: skip


def test_document_003_on_the_same_work_at_64x64(text_to_image, preset):
    """The same at the original's 64x64 pixels and its networks, eight images a batch from 640x480 JPEGs."""
    original = {"image_size": 64, "width": 64, "text_size": 1024, "text_hidden_size": 128, "batch_size": 8}
    bench = text_to_image.built_with(**({} if preset == "tiny" else original))
    bench.images(
        before=bench.reference(), after=bench.restructured(mixed_precision=True, sparse_logging=True), num_images=8
    )


@pytest.mark.speedup_passes("cold", "profile")
def test_fastest_on_the_same_work(text_to_image, num_images):
    """The fastest tier against the reference: same images, batches, networks, losses and updates."""
    text_to_image.images(before=text_to_image.reference(), after=text_to_image.fastest(), num_images=num_images)


@pytest.mark.speedup_passes("cold")
def test_fastest_on_the_same_work_at_64x64(text_to_image, preset):
    """The same at the original's 64x64 pixels and its networks, eight images a batch from 640x480 JPEGs."""
    original = {"image_size": 64, "width": 64, "text_size": 1024, "text_hidden_size": 128, "batch_size": 8}
    bench = text_to_image.built_with(**({} if preset == "tiny" else original))
    bench.images(before=bench.reference(), after=bench.fastest(), num_images=8)


@pytest.mark.speedup_long(3)
@pytest.mark.speedup_claim("text-to-image.epochs")
def test_fewer_epochs(text_to_image, num_images, epochs):
    """100 epochs against 250, nothing else changed: what is left out is saved, to the epoch."""
    text_to_image.images(
        before=text_to_image.restructured(), after=text_to_image.restructured(fewer_epochs=True),
        num_images=num_images, work="less", calls=epochs,
    )  # fmt: skip


@pytest.mark.speedup_claim("text-to-image.batch")
def test_larger_batches(text_to_image, num_common):
    """The same images in batches twice as large, which are half as many updates."""
    text_to_image.images(
        before=text_to_image.restructured(), after=text_to_image.restructured(larger_batches=True),
        num_images=num_common, work="different",
    )  # fmt: skip


@pytest.mark.usefixtures("on_a_gpu")
def test_larger_batches_in_memory(text_to_image, num_common):
    """The same images in batches twice as large, in memory already: the networks alone."""
    text_to_image.images(
        before=text_to_image.restructured(), after=text_to_image.restructured(larger_batches=True),
        num_images=num_common, is_held=True, work="different",
    )  # fmt: skip


@pytest.mark.speedup_claim("text-to-image.resolution", "text-to-image.resolution-epoch", variant="published")
def test_smaller_images_as_published(text_to_image, num_images):
    """As many images at half the width and height in the published program, nothing else changed."""
    others = {**SAME_WORK, "sparse_logging": False, "mixed_precision": False}
    text_to_image.images(
        before=text_to_image.published(**others),
        after=training_as_published(text_to_image, **others | {"smaller_images": True}),
        num_images=num_images, work="less",
    )  # fmt: skip


@pytest.mark.speedup_claim("text-to-image.resolution-epoch", variant="done right")
def test_smaller_images(text_to_image, num_images):
    """As many images at half the width and height, from the same JPEG files."""
    text_to_image.images(
        before=text_to_image.restructured(), after=text_to_image.restructured(smaller_images=True),
        num_images=num_images, work="less",
    )  # fmt: skip


@pytest.mark.speedup_claim("text-to-image.resolution", variant="done right")
def test_smaller_images_in_memory(text_to_image, num_images):
    """As many images at half the width and height, in memory already: the networks alone."""
    text_to_image.images(
        before=text_to_image.restructured(), after=text_to_image.restructured(smaller_images=True),
        num_images=num_images, is_held=True, work="less",
    )  # fmt: skip


@pytest.mark.speedup_claim("text-to-image.amp-speed", "text-to-image.amp-memory", variant="published")
def test_mixed_precision_as_published(text_to_image, num_images, device):
    """Training in the published program's mixed precision against float32, nothing else changed."""
    if device == "cpu":
        pytest.skip("without a GPU the published program's mixed precision does nothing")
    others = {**SAME_WORK, "sparse_logging": False}
    text_to_image.images(
        before=text_to_image.published(**others, mixed_precision=False), after=text_to_image.published(**others),
        num_images=num_images, passes=["time", "memory"],
    )  # fmt: skip


@pytest.mark.speedup_passes("gpu")
@pytest.mark.speedup_claim("text-to-image.amp-speed", "text-to-image.amp-memory", variant="done right")
def test_mixed_precision(text_to_image, num_images):
    """Training in mixed precision against float32, nothing else changed."""
    text_to_image.images(
        before=text_to_image.restructured(), after=text_to_image.restructured(mixed_precision=True),
        num_images=num_images, passes=["time", "memory"],
    )  # fmt: skip


@pytest.mark.speedup_passes("gpu")
@pytest.mark.speedup_claim("text-to-image.amp-speed", variant="done right")
@pytest.mark.speedup_claim("text-to-image.tensor-cores")
def test_mixed_precision_in_memory(text_to_image, num_images, tf32):
    """Mixed precision against float32 with images in memory: the networks alone, with TF32 and without."""
    del tf32  # it holds for the whole test
    text_to_image.images(
        before=text_to_image.restructured(), after=text_to_image.restructured(mixed_precision=True),
        num_images=num_images, is_held=True,
    )  # fmt: skip


@pytest.mark.speedup_long(4)
@pytest.mark.speedup_claim("text-to-image.logging", "text-to-image.io-overhead")
def test_sparse_logging(text_to_image, preset, config):
    """As many batches as lie between lines, with one line and with none; small ones, in memory: lines weigh most."""
    small = {} if preset == "default" else {"batch_size": 2}
    bench = text_to_image.built_with(**small)
    bench.images(
        before=bench.restructured(), after=bench.restructured(sparse_logging=True),
        num_images=config.log_interval * config.replace(**small).batch_size, is_held=True,
    )  # fmt: skip


def test_loader_workers(text_to_image, preset, device):
    """An epoch whose images worker processes decode against one in which the training process does.

    On a GPU, where an epoch at the original's sizes would take minutes of decoding, 512 of its images.
    """
    is_long = (preset, device) == ("default", "cuda")
    text_to_image.images(
        before=text_to_image.restructured(), after=text_to_image.restructured(loader_workers=True),
        num_images=IMAGES[preset] if is_long else None,
    )  # fmt: skip


@pytest.mark.ladder
def test_compiled_networks(text_to_image, num_images):
    """Both networks through torch.compile against one kernel after the other; what compiling costs is the cold call."""
    text_to_image.images(
        before=text_to_image.restructured(), after=text_to_image.restructured(compiled_networks=True),
        num_images=num_images, passes=["time", "cold"],
    )  # fmt: skip


def test_restructured(text_to_image, num_images):
    """The optimized trainer with every switch off against the reference: what rewriting alone changes."""
    text_to_image.images(before=text_to_image.reference(), after=text_to_image.restructured(), num_images=num_images)


@pytest.mark.speedup_control
def test_control(text_to_image, num_images):
    """Two separately built reference trainers: what identical code differs by on this machine."""
    text_to_image.images(before=text_to_image.reference(), after=text_to_image.reference(), num_images=num_images)


EPOCHS_OF_QUALITY = {"tiny": 2, "smoke": 1, "default": 1}
NUM_GRADIENTS = 16


@pytest.mark.speedup_claim("text-to-image.amp-quality")
def test_mixed_precision_keeps_the_validation_loss(text_to_image, figure, preset):
    """Validation loss in mixed precision against float32, over paired seeds, in standard deviations of float32's."""
    held = text_to_image.held_epoch()

    def reached(seed: int, *, mixed_precision: bool) -> float:
        trainer = text_to_image.restructured(mixed_precision=mixed_precision).built(seed=seed)
        held.give(trainer)
        for _ in range(EPOCHS_OF_QUALITY[preset]):
            trainer.train_epoch("train")
        trainer.close()
        return trainer.evaluate()

    figure(**paired_difference(partial(reached, mixed_precision=False), partial(reached, mixed_precision=True)))


@pytest.mark.speedup_claim("text-to-image.gpu-use")
def test_larger_batches_use_the_gpu_more(text_to_image, num_common, figure, device):
    """GPU utilization in batches twice as large, less that in batches of the first size, on images from files."""
    if device == "cpu":
        figure(None, unit="percentage points", work="different", reason="no GPU took part")
        return

    def utilization(side) -> dict:
        def call() -> None:
            side()
            side.trainer.synchronize()

        side.restart()  # not between the calls, where it would make the GPU look idle
        return watch(call, device=device).figures["utilization"]

    before, after = text_to_image.restructured(), text_to_image.restructured(larger_batches=True)
    before.num_images = after.num_images = num_common
    figure(**paired_readings(partial(utilization, before), partial(utilization, after)), work="different")


IMAGE_SIDES = {"tiny": (8, 16, 32)}
ORIGINAL_NETWORKS = {"width": 64, "text_size": 1024, "text_hidden_size": 128, "batch_size": 2}


@pytest.mark.speedup_claim("text-to-image.quadratic", "text-to-image.n-squared")
def test_operations_over_image_sizes(text_to_image, preset, figure):
    """Exponent of a training step's operations over the pixels on a side of its images, in the original's networks.

    For images twice as wide and high the networks have one stage more, at the image's end.
    """
    sizes, fixed = IMAGE_SIDES.get(preset, (16, 32, 64)), {} if preset == "tiny" else ORIGINAL_NETWORKS
    steps = [operations_of_a_step(text_to_image.built_with(image_size=size, **fixed)) for size in sizes]
    missing = [step["reason"] for step in steps if step["value"] is None]
    if missing:
        figure(None, unit="exponent", reason=missing[0])
        return
    counts = [step["value"] for step in steps]
    found = growth_exponent(sizes, [counts, counts])  # counted, not measured: a second sweep would be the same
    shown = ", ".join(f"{count:.3g}" for count in counts)
    details = [f"{', '.join(map(str, sizes))} pixels: {shown} operations a step; each doubling adds a stage"]
    figure(found["value"], exact=True, unit=found["unit"], details=details)


def operations_of_a_step(bench):
    """Return the floating point operations of one step of the reference, its images in memory, as a figure."""
    side = bench.reference()
    side.num_images = side.trainer.config.batch_size
    side.step_alone()  # it decodes them
    counted = flops_per_call(side.step_alone)
    side.close()
    return counted


@pytest.mark.speedup_claim("text-to-image.gradients")
def test_larger_batches_estimate_gradients_better(text_to_image, figure):
    """Variance of the generator's gradient over batches of the first size, over that of batches twice as large."""
    small, large = text_to_image.restructured(), text_to_image.restructured(larger_batches=True)
    figure(**variance_ratio(gradients(small), gradients(large)))


def gradients(side):
    """Return the generator's gradients of some batches at the weights before the first step, a row each."""
    import torch  # noqa: PLC0415 - a machine without it collects these tests

    trainer, rows = side.trainer, []
    for number, batch in zip(range(NUM_GRADIENTS), side.trainer.make_loader("train"), strict=False):
        side.reset()
        trainer.num_items_done = number * len(batch.texts_BE)  # other noise for every batch
        trainer.train_batch(batch)
        rows.append(torch.cat([weight.grad.flatten() for weight in trainer.generator.parameters()]).double().cpu())
    return torch.stack(rows).numpy()


@pytest.mark.speedup_claim("text-to-image.enough-epochs")
def test_100_epochs_are_enough(text_to_image, figure):
    """How much better the pictures are after 250 epochs than after 100."""
    del text_to_image
    figure(None, unit="sd", work="less", reason="needs the original data, and a measure of the pictures' quality")


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.speedup_claim("text-to-image.saved", "text-to-image.resumed")
def test_interruptions_and_errors_are_saved(text_to_image, figure, tmp_path, device):
    """Trainings stopped by Ctrl-C or by an error at two moments each, and resumed to the same weights, to the bit."""
    del text_to_image  # it skips where PyTorch is missing
    from trainers.common import checkpoint  # noqa: PLC0415
    from trainers.common.options import TrainOptions  # noqa: PLC0415
    from trainers.text_to_image.commands import train  # noqa: PLC0415
    from trainers.text_to_image.data.items import CaptionData  # noqa: PLC0415

    def final(name: str) -> bytes:
        return checkpoint.dumps(checkpoint.load(tmp_path / name / "dcgan_last.safetensors")["state"])

    options = TrainOptions(preset="tiny", switches={"mixed_precision": True}, device=device)
    stopped = {"interrupted": partial(signal.raise_signal, signal.SIGINT), "error": failing}
    same = []
    with exact_arithmetic(device):
        train(replace(options, out=tmp_path / "whole"))
        for name, num_calls in itertools.product(stopped, (2, 7)):
            out = tmp_path / f"{name}-{num_calls}"
            with called_at(CaptionData, "note_damaged", num_calls, stopped[name]), suppress(Interrupted, InjectedError):
                train(replace(options, out=out))
            train(TrainOptions(resume=out / f"dcgan_{name}.safetensors", device=device))
            same += [f"{name} at batch {num_calls}"] if final(out.name) == final("whole") else []
    details = [f"preset tiny; went on to the bit: {', '.join(same) or 'none'}"]
    figure(len(same), exact=True, unit="of 4 stops", details=details)


class InjectedError(Exception):
    """Fail a training on purpose, for a test."""


def failing() -> None:
    """Go wrong."""
    raise InjectedError
