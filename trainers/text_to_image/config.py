"""Configuration, presets and switches of the text-to-image GAN. Imports no framework."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from trainers.common.configuration import Bounds, Configuration
from trainers.contract import BadInput
from trainers.switches import Switch

__all__ = ["FASTEST_SWITCHES", "PRESETS", "SWITCHES", "TIERS", "TextToImageConfig"]

TIERS = ("reference", "optimized", "fastest")
"""The tiers that exist, slowest first."""

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

FASTEST_SWITCHES = (
    Switch(
        "cached_images",
        "images are decoded and resized once, into a memory-mapped file of bytes, and normalized on the device",
    ),
    Switch(
        "pruned_backward",
        "the generator's backward pass leaves out the gradients of the discriminator's weights, which nobody uses",
    ),
    Switch(
        "joined_passes",
        "the discriminator's convolutions see real, mismatched and fake images in one call; each BatchNorm still sees "
        "them apart",
        "close",
    ),
    Switch("fused_optimizer", "both Adams update all their weights in one kernel", "close"),
    Switch("channels_last", "weights and images lie in memory with their channels innermost", "close"),
    Switch(
        "bfloat16",
        "convolutions in bfloat16, everything else in float32; on where the device multiplies in bfloat16",
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


@dataclass(frozen=True)
class TextToImageConfig(Configuration):
    """Every size and hyperparameter of the family; the defaults are those of the original program.

    Attributes:
        num_images: images of the offline data; a user's own folder has its own number.
        captions_per_image: captions of each of them.
        source_width: pixels across an image file of the offline data.
        source_height: pixels down an image file of the offline data.
        data_seed: seed of the offline data.
        word_vector_size: numbers in a word vector.
        text_size: numbers in the embedding of a caption.
        text_hidden_size: to how many a network reduces them.
        noise_size: random numbers of an image.
        width: channels of the layer nearest to a 64x64 image; deeper layers have 2, 4 and 8 times as many.
        image_size: pixels on each side of a training image, a power of two.
        batch_size: items (an image with one of its captions) a batch.
        learning_rate: of Adam, for both networks.
        beta1: of Adam.
        beta2: of Adam.
        l1_weight: of the pixels' distance in the generator's loss.
        feature_weight: of the features' distance in the generator's loss.
        num_epochs: epochs of the whole training.
        log_interval: batches between two log lines.
        val_split: fraction of the images that is held out for validation.
        split_seed: seed of that split.
        large_batch_size: batch size while `larger_batches` is on.
        small_image_size: image size while `smaller_images` is on.
        few_epochs: epochs while `fewer_epochs` is on.
        sparse_log_interval: log interval while `sparse_logging` is on.
        mixed_precision_dtype: float16, bfloat16, or auto: float16 on a GPU and bfloat16 on a CPU.
        num_workers: worker processes of a loader while `loader_workers` is on.
        accumulation_steps: batches an update takes while `gradient_accumulation` is on.
        checkpoint_every: epochs between two checkpoints that are kept.
        patience: epochs without a better validation loss after which `early_stopping` ends the training.

    """

    num_images: int = 2_000
    captions_per_image: int = 5
    source_width: int = 640
    source_height: int = 480
    data_seed: int = 0
    word_vector_size: int = 300
    text_size: int = 1024
    text_hidden_size: int = 128
    noise_size: int = 100
    width: int = 64
    image_size: int = 64
    batch_size: int = 256
    learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    l1_weight: float = 50.0
    feature_weight: float = 100.0
    num_epochs: int = 250
    log_interval: int = 18
    val_split: float = 0.05
    split_seed: int = 42
    large_batch_size: int = 512
    small_image_size: int = 32
    few_epochs: int = 100
    sparse_log_interval: int = 50
    mixed_precision_dtype: str = "auto"
    num_workers: int = 4
    accumulation_steps: int = 2
    checkpoint_every: int = 10
    patience: int = 10

    BOUNDS: ClassVar[Mapping[str, Bounds]] = {
        **dict.fromkeys(("data_seed", "split_seed", "l1_weight", "feature_weight"), Bounds(least=0)),
        **dict.fromkeys(("captions_per_image", "word_vector_size", "text_size", "text_hidden_size"), Bounds(least=1)),
        **dict.fromkeys(("noise_size", "width", "num_epochs", "few_epochs", "num_workers"), Bounds(least=1)),
        **dict.fromkeys(("log_interval", "sparse_log_interval", "accumulation_steps"), Bounds(least=1)),
        **dict.fromkeys(("patience", "checkpoint_every"), Bounds(least=1)),
        **dict.fromkeys(("source_width", "source_height", "image_size", "small_image_size"), Bounds(least=8)),
        **dict.fromkeys(("num_images", "batch_size", "large_batch_size"), Bounds(least=2)),
        **dict.fromkeys(("beta1", "beta2"), Bounds(least=0, below=1)),
        "learning_rate": Bounds(above=0),
        "val_split": Bounds(above=0, below=1),
        "mixed_precision_dtype": Bounds(choices=("auto", "float16", "bfloat16")),
    }
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __post_init__(self) -> None:
        """Refuse values that no training could use.

        Raises:
            BadInput: a value of the wrong type or out of its range, by name.

        """
        super().__post_init__()
        for name in ("image_size", "small_image_size"):
            size = getattr(self, name)
            if size & (size - 1):
                raise BadInput(f"{name} is {size}", "configuration", "make it a power of two")
