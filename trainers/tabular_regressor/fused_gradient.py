"""Loss and gradient of the tabular regressor by one function in C++, `gradient.cpp`, on a CPU.

Shape suffixes: B rows of a batch, F features, H hidden units, K targets, W weights, M masks (two a block).
"""

import ctypes
import functools
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from trainers.contract import BadInput
from trainers.pytorch.cpp import load_library
from trainers.pytorch.devices import cpp_compiler, cpu_capabilities
from trainers.pytorch.flat_weights import FlatWeights
from trainers.tabular_regressor.config import RegressorConfig

__all__ = ["DropoutMasks", "FusedGradient", "can_fuse", "compiler_takes_source"]

_SOURCE = Path(str(files("trainers.tabular_regressor") / "gradient.cpp"))


class _Sizes(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64) for name in ("most_rows", "features", "hidden", "blocks", "targets", "threads", "amx")
    ]


class _Step(ctypes.Structure):
    _fields_ = [
        ("sizes", _Sizes),
        ("rows", ctypes.c_int64),
        ("features", ctypes.c_void_p),
        ("targets", ctypes.c_void_p),
        ("masks", ctypes.c_void_p),
        ("kept_scale", ctypes.c_float),
        ("parameters", ctypes.c_void_p),
        ("gradients", ctypes.c_void_p),
        ("memory", ctypes.c_void_p),
    ]


def _library() -> ctypes.CDLL:
    """Return the functions of the source, built.

    Raises:
        BadInput: they cannot be.

    """
    library = load_library("tabular_regressor", _SOURCE)
    library.memory_bytes.restype = library.most_stages.restype = library.has_amx.restype = ctypes.c_int64
    library.loss_and_gradient.restype = ctypes.c_double
    return library


_MOST_BLOCKS = 128
"""The source has room for these."""


def can_fuse(device: torch.device, num_layers: int = 1) -> bool:
    """Whether the source is written for a device, a CPU, and for that many blocks, and there is a compiler for it."""
    is_known = device.type == "cpu" and bool(cpu_capabilities().get("avx512_bf16")) and num_layers <= _MOST_BLOCKS
    return is_known and cpp_compiler() is not None


def compiler_takes_source() -> bool:
    """Whether the compiler that is there takes the source."""
    return _builds(_SOURCE, cpp_compiler())


def _multiplies_by_amx() -> bool:
    """Whether the processor, the compiler and the system have AMX; the source then multiplies by it."""
    return bool(_library().has_amx())


@functools.cache
def _builds(*_: object) -> bool:
    try:
        _library()
    except BadInput:
        return False
    return True


class DropoutMasks:
    """Draw the masks that PyTorch's dropout draws on this CPU, from the global generator.

    Where PyTorch draws them number by number, which takes longer than the layers between two of them, this draws the
    same numbers many at a time.

    Args:
        dropout: probability of zeroing an activation.

    """

    def __init__(self, dropout: float) -> None:
        """See how PyTorch draws here."""
        self._kept = 1 - dropout
        self._draw = self._draw_at_once if self._draws_as_pytorch() else self._draw_by_pytorch

    def draw(self, shape_MBH: Sequence[int]) -> Tensor | None:
        """Return masks of bytes, 1 where dropout keeps; None without dropout, which draws nothing."""
        if self._kept == 1 or 0 in shape_MBH:
            return None
        return self._draw(torch.empty(*shape_MBH, dtype=torch.uint8))

    def _draw_by_pytorch(self, masks_MBH: Tensor) -> Tensor:
        for mask_BH in masks_MBH:
            mask_BH.copy_(torch.empty(mask_BH.shape).bernoulli_(self._kept))
        return masks_MBH

    def _draw_at_once(self, masks_MBH: Tensor) -> Tensor:
        state, count = torch.get_rng_state(), masks_MBH.numel()
        words = torch.empty(2 * count, dtype=torch.int32)
        state_of, masks_of, words_of = _pointers(state, masks_MBH, words)
        _library().draw_masks(state_of, ctypes.c_double(self._kept), masks_of, ctypes.c_int64(count), words_of)
        torch.set_rng_state(state)
        return masks_MBH

    def _draws_as_pytorch(self) -> bool:
        """Compare masks and generators, over the end of the twister's 624 words; on Intel's processors MKL draws."""
        with torch.random.fork_rng(devices=[]):
            found = []
            for draw in (self._draw_by_pytorch, self._draw_at_once):
                torch.default_generator.manual_seed(0)  # not also a GPU's
                masks = [draw(torch.empty(1, 1, number, dtype=torch.uint8)) for number in (1, 500, 1300)]
                found.append((*masks, torch.get_rng_state()))
        return all(map(torch.equal, *found))


class FusedGradient:
    """Compute loss and gradient of a network on batches.

    Args:
        network: a `TabularRegressor`.
        flat: its weights.
        config: has the dropout.

    Attributes:
        gradient_W: of the newest batch.

    Raises:
        BadInput: the source cannot be built.
        ValueError: the network's weights are not those that the source knows, in its order.

    """

    def __init__(self, network: nn.Module, flat: FlatWeights, config: RegressorConfig) -> None:
        """Look at the network; the first batch takes memory."""
        library = _library()
        names = [name for name, _ in network.named_parameters()]
        num_blocks = len(cast("nn.Sequential", network.layers))
        if names != _names(num_blocks) or 1 + 2 * num_blocks > library.most_stages():
            raise ValueError(f"the weights are not those of a TabularRegressor of at most {_MOST_BLOCKS} blocks")
        input_layer = cast("nn.Linear", network.input_proj)
        num_targets = cast("int", network.num_targets)
        hidden = input_layer.out_features
        self._network = network
        self._sizes = [0, input_layer.in_features, hidden, num_blocks, num_targets, 0, int(_multiplies_by_amx())]
        self._memory = torch.empty(0)
        self._flat, self._masks, self._kept_scale = flat, DropoutMasks(config.dropout), 1 / (1 - config.dropout)
        self.gradient_W = torch.zeros_like(flat.buffer_W)

    def __call__(self, features_BF: Tensor, targets_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Compute `gradient_W`; return the loss and the gradient's norm, both scalars.

        While the network trains, dropout masks are drawn.

        Raises:
            ValueError: a batch that is not of float32, or of other sizes than the network.

        """
        _, num_features, hidden, num_blocks, num_targets, num_threads, _ = self._sizes
        given, rows = (features_BF, targets_BK), len(features_BF)
        shapes = [tuple(each.shape) for each in given]
        if shapes != [(rows, num_features), (rows, num_targets)] or {each.dtype for each in given} != {torch.float32}:
            wanted = f"({rows}, {num_features}) and ({rows}, {num_targets})"
            raise ValueError(f"features and targets must be {wanted} in float32, not {shapes[0]} and {shapes[1]}")
        if num_threads != torch.get_num_threads() or len(features_BF) > self._sizes[0]:
            self._take_memory(max(len(features_BF), self._sizes[0]), torch.get_num_threads())
        shape_MBH = 2 * num_blocks, len(features_BF), hidden
        masks_MBH = self._masks.draw(shape_MBH) if self._network.training else None
        found: Tensor = _gradient(
            self._flat.buffer_W.detach(),
            features_BF.contiguous(),
            targets_BK.contiguous(),
            masks_MBH,
            self.gradient_W,
            self._memory,
            self._sizes,
            self._kept_scale,
        )
        return found[0], found[1]

    def _take_memory(self, most_rows: int, num_threads: int) -> None:
        self._sizes[0], self._sizes[5] = most_rows, num_threads
        num_bytes = _library().memory_bytes(ctypes.byref(_Sizes(*self._sizes)))
        self._memory = torch.zeros(num_bytes, dtype=torch.uint8)  # at a multiple of 64 bytes, as all of PyTorch's


def _names(num_blocks: int) -> list[str]:
    layers = ["input_proj", "input_norm"]
    layers += [f"layers.{block}.{number}" for block in range(num_blocks) for number in (0, 1, 4, 5)]
    return [f"{layer}.{kind}" for layer in [*layers, "output_proj"] for kind in ("weight", "bias")]


def _pointers(*tensors: Tensor | None) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]


# An operator of PyTorch's dispatcher, so that whoever counts operations or records a profile sees it.
@torch.library.custom_op("trainers::regressor_gradient", mutates_args=("gradient_W", "memory"), device_types="cpu")
def _gradient(  # noqa: PLR0913, PLR0917 - an operator's arguments have places
    buffer_W: Tensor,
    features_BF: Tensor,
    targets_BK: Tensor,
    masks_MBH: Tensor | None,
    gradient_W: Tensor,
    memory: Tensor,
    sizes: list[int],
    kept_scale: float,
) -> Tensor:
    """Loss and norm of the gradient, (2)."""
    squares = ctypes.c_double()
    data = _pointers(features_BF, targets_BK, masks_MBH), _pointers(buffer_W, gradient_W, memory)
    step = _Step(_Sizes(*sizes), len(features_BF), *data[0], kept_scale, *data[1])
    loss = _library().loss_and_gradient(ctypes.byref(step), ctypes.byref(squares))
    return torch.tensor([loss, squares.value**0.5], dtype=torch.float32)


@register_flop_formula(torch.ops.trainers.regressor_gradient)
def _flops(  # noqa: PLR0913, PLR0917 - likewise
    buffer_shape: Any,
    features_shape: Any,
    targets_shape: Any,
    masks_shape: Any,
    gradient_shape: Any,
    memory_shape: Any,
    sizes: list[int],
    *_: Any,
    **__: Any,
) -> int:
    """Each layer's product and the two of its gradients, of which the first layer has one."""
    del buffer_shape, targets_shape, masks_shape, gradient_shape, memory_shape
    features, hidden, blocks, targets = sizes[1:5]
    first, others = features * hidden, 2 * blocks * hidden**2 + 3 * targets * hidden
    return 2 * int(features_shape[0]) * (2 * first + 3 * others)
