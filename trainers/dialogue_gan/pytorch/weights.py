"""Weights as NumPy arrays under the names and in the layout of the TensorFlow model, one way and the other.

PyTorch keeps the axes of a kernel in the reverse order: (outputs, inputs) of a dense layer and of an LSTM's products,
(filters, inputs, width) of a convolution. The gates of an LSTM come in the same order in both (input, forget, new,
output), but PyTorch adds two biases where Keras has one: the first is Keras', the second stays zero.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.common.seeds import derived_seed
from trainers.dialogue_gan.pytorch.model import Discriminator, Generator

__all__ = ["Values", "initial_values", "keras_names", "keras_values", "set_keras_values", "to_keras", "to_torch"]

Values = dict[str, NDArray[np.float32]]
"""Weights by the name that the TensorFlow model gives them, such as `lstm_1/lstm_cell/kernel`."""

_OF_LSTM = {
    "weight_ih_l0": "lstm_cell/kernel",
    "weight_hh_l0": "lstm_cell/recurrent_kernel",
    "bias_ih_l0": "lstm_cell/bias",
}


def keras_names(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Trainable weights of a network, each with its name in the TensorFlow model, in that one's order."""
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            layer, _, own = name.rpartition(".")
            kernel = "embeddings" if layer.endswith("embedding") else "kernel"
            yield f"{layer}/{_OF_LSTM.get(own) or own.replace('weight', kernel)}", weight


def to_keras(name: str, value: Tensor) -> NDArray[np.float32]:
    """Array of its own in the layout of the TensorFlow model, of a weight of that name or of what goes with it."""
    array: NDArray[np.float32] = value.detach().cpu().numpy()
    return np.array(array if name.endswith("embeddings") else array.T, order="C")


def to_torch(name: str, array: NDArray[np.float32]) -> Tensor:
    """Undo `to_keras`."""
    return torch.from_numpy(np.ascontiguousarray(array if name.endswith("embeddings") else array.T))


def keras_values(network: nn.Module) -> Values:
    """Weights by name, as arrays of their own."""
    return {name: to_keras(name, weight) for name, weight in keras_names(network)}


@torch.no_grad()
def set_keras_values(network: nn.Module, values: Mapping[str, NDArray[np.float32]]) -> None:
    """Take weights by name, into the tensors that are there."""
    for name, weight in keras_names(network):
        weight.copy_(to_torch(name, values[name]))


def initial_values(network: Generator | Discriminator, seed: int) -> Values:
    """Weights of the distributions that Keras' usual initializers draw from, though not the same numbers.

    Embeddings are uniform up to 0.05, kernels Glorot's, recurrent kernels orthogonal; biases are 0, and 1 for the gate
    by which an LSTM forgets.
    """
    found = keras_values(network)
    for number, (name, array) in enumerate(found.items()):
        random = np.random.default_rng(derived_seed(seed, number))
        found[name] = _initial(name, array.shape, random).astype(np.float32)
    return found


def _initial(name: str, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float64]:
    kind = name.rpartition("/")[2]
    if kind == "embeddings":
        return random.uniform(-0.05, 0.05, shape)
    if kind == "recurrent_kernel":
        columns, triangle = np.linalg.qr(random.normal(size=shape[::-1]))
        return np.array((columns * np.sign(np.diag(triangle))).T)
    if kind == "kernel":
        *window, num_inputs, num_outputs = shape
        limit = np.sqrt(6 / (np.prod(window) * (num_inputs + num_outputs)))
        return random.uniform(-limit, limit, shape)
    biases = np.zeros(shape)
    if "lstm_cell" in name:
        size = shape[0] // 4
        biases[size : 2 * size] = 1
    return biases
