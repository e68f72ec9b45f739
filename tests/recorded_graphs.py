"""Record the operations of a capture and do them again in a replay, on a CPU, by the rules of CUDA graphs.

A replay reads and writes the memory that the capture saw, whatever Python's names refer to by then; a capture itself
leaves no trace but in the memory of what it makes; and what would wait for the device is refused within it.
"""

import contextlib
import types

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default}
MOVES_STATISTICS = {torch.ops.aten.native_batch_norm.default}
"""Their schemas do not say that they change their inputs."""


def memory(tensor):
    return tensor.untyped_storage()._cdata


class RecordedGraph(TorchDispatchMode):
    """Stand for `torch.cuda.CUDAGraph` and for the context that captures it."""

    def __init__(self):
        super().__init__()
        self.num_replays = 0
        self._operations = []
        self._made = set()
        self._before = {}

    def __enter__(self):
        self._random = torch.get_rng_state()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        for tensor, value in self._before.values():  # kernels are captured, not run
            tensor.data.copy_(value)
        torch.set_rng_state(self._random)

    def __torch_dispatch__(self, function, kinds, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in WAITS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {function}")
        inputs = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
        is_mutable = function._schema.is_mutable or function in MOVES_STATISTICS
        if is_mutable:
            for one in inputs:
                if memory(one) not in self._made and memory(one) not in self._before:
                    whole = torch.empty(0, dtype=one.dtype).set_(one.untyped_storage())
                    self._before[memory(one)] = whole, whole.clone()
        results = function(*args, **kwargs)
        seen = {memory(one) for one in inputs}
        outputs = [one for one in tree_flatten(results)[0] if isinstance(one, torch.Tensor)]
        fresh = [one for one in outputs if memory(one) not in seen]
        self._made.update(map(memory, fresh))
        if fresh or is_mutable:  # a view has its place already
            kept = (tree_map(_kept, each) for each in (args, kwargs, results))
            self._operations.append((torch.is_grad_enabled(), function, *kept))  # an LSTM's results depend on it
        return results

    def replay(self):
        """Run every operation again, its results into the memory that they had."""
        self.num_replays += 1
        for with_gradients, function, args, kwargs, results in self._operations:
            with torch.set_grad_enabled(with_gradients):
                places = [one for one in tree_flatten(results)[0] if isinstance(one, torch.Tensor)]
                again = [one for one in tree_flatten(function(*args, **kwargs))[0] if isinstance(one, torch.Tensor)]
                for place, value in zip(places, again, strict=True):
                    if memory(place) != memory(value):
                        place.copy_(value)


def _kept(one):
    return one.detach() if isinstance(one, torch.Tensor) else one


def pretend(monkeypatch, *modules):
    """Let the trainers of some modules capture on a CPU; return the graphs, one by one, and their warm-ups' streams."""
    graphs, streams = [], []
    stream = types.SimpleNamespace(wait_stream=lambda _: None)

    class Capture(contextlib.ExitStack):
        capture_stream = types.SimpleNamespace(wait_stream=lambda _: None)

        def __init__(self, graph):
            super().__init__()
            self._graph = graph

        def __enter__(self):
            graphs.append(self.enter_context(self._graph))

    for module in modules:
        monkeypatch.setattr(module, "captures_graphs", lambda _: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    monkeypatch.setattr(torch.cuda, "stream", lambda one: contextlib.nullcontext(streams.append(one)))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda _: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, _: torch.set_rng_state(state))
    return types.SimpleNamespace(graphs=graphs, streams=streams)
