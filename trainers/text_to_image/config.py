"""Configuration, presets and switches of the text-to-image GAN. Imports no framework."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import attrs

from trainers.common.configuration import Configuration, setting
from trainers.switches import KEPT_MEMORY, Switch

__all__ = ["FASTEST_SWITCHES", "PRESETS", "PUBLISHED_SWITCHES", "SWITCHES", "TextToImageConfig"]

SWITCHES = (
    Switch("fewer_epochs", "trains 100 epochs instead of 250", work="less"),
    Switch(
        "larger_batches",
        "512 items a batch instead of 256, so half the updates",
        "statistical",
        work="different",
        neutral_when="both sizes are the same, or each holds all items of an epoch",
    ),
    Switch(
        "smaller_images",
        "32x32 pixels instead of 64x64, and networks a stage shorter",
        "statistical",
        work="less",
        neutral_when="both sizes are the same",
    ),
    Switch("sparse_logging", "a log line every 50 batches instead of every 18"),
    Switch(
        "mixed_precision",
        "autocast and loss scaling: float16 on a GPU, bfloat16 on a CPU",
        # Not close: in bfloat16 the losses of the first 20 steps drift apart by more than that allows.
        "statistical",
    ),
    Switch("loader_workers", "worker processes decode the images instead of the training process", default=False),
    Switch("compiled_networks", "both networks through torch.compile", "close", default=False),
    Switch(
        "gradient_accumulation",
        "one update from the gradients of several batches",
        "statistical",
        work="different",
        default=False,
    ),
    Switch(
        "cosine_schedule",
        "learning rates fall to zero along a cosine, epoch by epoch",
        "statistical",
        work="different",
        default=False,
    ),
    Switch("early_stopping", "stops when the validation loss no longer falls", work="less", default=False),
)
"""The five changes of document 003 in its order, then its list of future optimizations, which are off by default."""

PUBLISHED_SWITCHES = (
    *SWITCHES,
    Switch(
        "autocast_on_cuda_only",
        "mixed precision does nothing without a GPU",
        "statistical",
        neutral_when="the training is on a GPU, or without mixed precision",
    ),
    Switch(
        "fixed_network_depth",
        "the networks keep their number of stages whatever the size of the images, and fail with smaller_images",
    ),
)
"""Document 003's changes, then the defects of the published program."""

FASTEST_SWITCHES = (
    Switch(
        "cached_images",
        "images are decoded and resized once, into a memory-mapped file of bytes, and normalized on the device",
    ),
    Switch(
        "resident_data",
        "the bytes of all images and all embedded captions lie on the device, and a batch is taken out of them by "
        "numbers; on with CUDA where they take an eighth of its memory at most; nothing without cached_images",
    ),
    Switch(
        "pruned_backward",
        "the generator's backward pass leaves out the gradients of the discriminator's weights, which nobody uses",
    ),
    Switch(
        "reused_features",
        "the discriminator does not see mismatched images: they are the real ones in another order, and so are their "
        "features; a batch in which one image comes twice in a row, its end joined to its beginning, keeps that pass",
        "close",
    ),
    Switch(
        "joined_passes",
        "the discriminator's convolutions see real, mismatched and fake images in one call; each BatchNorm still sees "
        "them apart; on with CUDA",
        "close",
    ),
    Switch(
        "matrix_products",
        "convolutions of maps of one pixel, or to such maps, are matrix products; what an image adds to its logit is "
        "not multiplied again for another text",
        "close",
    ),
    Switch("fused_optimizer", "both Adams update all their weights in one kernel", "close"),
    KEPT_MEMORY,
    Switch("channels_last", "weights and images lie in memory with their channels innermost", "close"),
    Switch(
        "bfloat16",
        "convolutions in bfloat16, everything else in float32; on where the device multiplies in bfloat16",
        "close",
        rtol=5e-3,
    ),
    Switch(
        "unfolded_maps",
        "the convolution to maps of 4x4 pixels, its weights' gradient, and the gradients of the one from them are "
        "products with unfolded maps (im2col), in bfloat16; on without a GPU where the device multiplies in bfloat16",
        "close",
        rtol=5e-3,
    ),
    Switch(
        "compiled_losses",
        "both losses through torch.compile; on with CUDA, where it spares launches: on a CPU it gains nothing",
        "close",
    ),
    Switch(
        "deferred_metrics",
        "losses stay on the device and are fetched once a call and for log lines; on with CUDA: a CPU has no queue to "
        "wait for",
    ),
    Switch(
        "captured_step",
        "all that is done with a batch is launched at once, as a CUDA graph; on with CUDA, nothing elsewhere",
        "close",
    ),
)
"""The fastest tier's, each the same work; the order is that of the ladder."""

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "tiny": {
        "num_images": 24, "captions_per_image": 2, "source_width": 64, "source_height": 48, "word_vector_size": 16,
        "text_size": 16, "text_hidden_size": 4, "noise_size": 8, "width": 2, "image_size": 16, "batch_size": 4,
        "num_epochs": 5, "log_interval": 2, "large_batch_size": 8, "small_image_size": 8, "few_epochs": 2,
        "sparse_log_interval": 5, "num_workers": 1, "patience": 2, "val_split": 0.15,
    },
    "smoke": {
        "num_images": 120, "word_vector_size": 50, "text_size": 64, "text_hidden_size": 16, "width": 16,
        "image_size": 32, "batch_size": 8, "num_epochs": 50, "large_batch_size": 16, "small_image_size": 16,
        "few_epochs": 20, "num_workers": 2,
    },
    "default": {},
})  # fmt: skip
"""Values that differ from the original program's, by preset."""


@attrs.frozen
class TextToImageConfig(Configuration):
    """Hold every size and hyperparameter of the family; the defaults are those of the original program."""

    num_images: int = setting(2_000, "images of the offline data, not of a user's own folder", ge=2)
    captions_per_image: int = setting(5, "captions of each image of the offline data", ge=1)
    source_width: int = setting(640, "pixels across an image file of the offline data", ge=8)
    source_height: int = setting(480, "pixels down an image file of the offline data", ge=8)
    data_seed: int = setting(0, "seed of the offline data", ge=0)
    word_vector_size: int = setting(300, "numbers in a word vector", ge=1)
    text_size: int = setting(1024, "numbers in the embedding of a caption", ge=1)
    text_hidden_size: int = setting(128, "numbers to which a network reduces that embedding", ge=1)
    noise_size: int = setting(100, "random numbers that a generated image starts from", ge=1)
    # Deeper layers have 2, 4 and 8 times as many.
    width: int = setting(64, "channels of the layer nearest to a 64x64 image", ge=1)
    image_size: int = setting(64, "pixels on each side of a training image", ge=8, power_of_two=True)
    batch_size: int = setting(256, "items of a batch, each an image with one of its captions", ge=2)
    learning_rate: float = setting(2e-4, "learning rate of both networks' Adam", gt=0)
    beta1: float = setting(0.5, "decay of Adam's first moments", ge=0, lt=1)
    beta2: float = setting(0.999, "decay of Adam's second moments", ge=0, lt=1)
    procedure: str = setting(
        "two_forwards",
        "two_forwards draws new noise and runs the generator again for its update, and has the losses of mismatched "
        "images, pixels and features; one_forward takes the fakes of the discriminator's update and has none of these",
        choices=("two_forwards", "one_forward"),
    )
    l1_weight: float = setting(50.0, "weight of the pixels' distance in the generator's loss of two_forwards", ge=0)
    feature_weight: float = setting(
        100.0, "weight of the features' distance in the generator's loss of two_forwards", ge=0
    )
    num_epochs: int = setting(250, "epochs of the whole training", ge=1)
    log_interval: int = setting(18, "batches between two log lines", ge=1)
    val_split: float = setting(0.05, "fraction of the images for validation", gt=0, lt=1)
    split_seed: int = setting(42, "seed of the split into training and validation", ge=0)
    large_batch_size: int = setting(512, "batch size while `larger_batches` is on", ge=2)
    small_image_size: int = setting(32, "image size while `smaller_images` is on", ge=8, power_of_two=True)
    few_epochs: int = setting(100, "epochs while `fewer_epochs` is on", ge=1)
    sparse_log_interval: int = setting(50, "log interval while `sparse_logging` is on", ge=1)
    mixed_precision_dtype: str = setting(
        "auto",
        "dtype of autocast, where auto means float16 on a GPU and bfloat16 on a CPU",
        choices=("auto", "float16", "bfloat16"),
    )
    num_workers: int = setting(4, "worker processes of a loader while `loader_workers` is on", ge=1)
    accumulation_steps: int = setting(2, "batches of one update while `gradient_accumulation` is on", ge=1)
    checkpoint_every: int = setting(10, "epochs between two checkpoints that are kept", ge=1)
    patience: int = setting(
        10, "epochs without a better validation loss after which `early_stopping` ends the training", ge=1
    )

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
