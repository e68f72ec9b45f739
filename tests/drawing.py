"""Note what PyTorch draws at random while a block runs."""

import contextlib

from torch.utils._python_dispatch import TorchDispatchMode

DRAWING = frozenset({"bernoulli", "bernoulli_", "native_dropout", "normal_", "rand", "randn", "uniform_"})
"""Operations that draw: masks of dropout, noise and uniform numbers. The order of batches is drawn by another one."""
GIVEN_MASKS = "trainers::regressor_gradient"
"""An operation whose fourth argument holds masks that no operation has drawn."""


class _Noting(TorchDispatchMode):
    def __init__(self, drawn):
        super().__init__()
        self.drawn = drawn

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in DRAWING:
            numbers = found[1] if isinstance(found, tuple) else found
            self.drawn.append(numbers.detach().double().clone())
        if func.name() == GIVEN_MASKS and args[3] is not None:
            self.drawn += args[3].double().unbind()
        return found


@contextlib.contextmanager
def draws_of_torch():
    """Give the list of all random numbers that are drawn inside, one tensor for each draw."""
    drawn = []
    with _Noting(drawn):
        yield drawn
