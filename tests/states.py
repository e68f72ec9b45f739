"""States of trainers: compared, as nested dicts, lists and tuples of plain values, arrays and tensors; and put back."""

import numpy as np

from trainers.common import checkpoint


def is_tensor(value):
    """Whether it is PyTorch's, told without importing PyTorch: TensorFlow's tests do without."""
    return type(value).__module__.partition(".")[0] == "torch"


def same(left, right):
    """Whether two states are the same to the bit."""
    return checkpoint.dumps(left) == checkpoint.dumps(right)


def put_back(trainer, parts, state):
    """Make a trainer what it was when `parts`, a copy of its `vars`, and its state were taken."""
    vars(trainer).clear()
    vars(trainer).update(parts)
    trainer.load_state(state)


def leaves(tree):
    """Every value of a nested state, with its path."""
    match tree:
        case dict():
            return [(f"[{key!r}]{path}", leaf) for key, value in tree.items() for path, leaf in leaves(value)]
        case list() | tuple():
            return [(f"[{index}]{path}", leaf) for index, value in enumerate(tree) for path, leaf in leaves(value)]
        case _:
            return [("", tree)]


def differences(left, right):
    """Paths at which two states do not agree bit for bit."""
    left, right = leaves(left), leaves(right)
    assert [path for path, _ in left] == [path for path, _ in right]
    return [
        path
        for (path, one), (_, other) in zip(left, right, strict=True)
        if not (one.equal(other) if is_tensor(one) else one == other)
    ]


def assert_same_tree(left, right, where="state"):
    """Key for key and bit for bit."""
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert list(left) == list(right), where
        for key in left:
            assert_same_tree(left[key], right[key], f"{where}[{key!r}]")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same_tree(one, other, f"{where}[{index}]")
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype, where
        assert left.tobytes() == right.tobytes(), where
    elif is_tensor(left):
        assert left.dtype is right.dtype, where
        assert left.equal(right), where
    else:
        assert left == right, where
