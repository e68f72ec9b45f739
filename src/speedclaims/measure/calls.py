"""Call a side of a pair until its result is there: await a coroutine, wait for a device, refuse what is unfinished.

What a side is shows in the result of its first call: a partial, a lambda or a decorated function hides a coroutine
function or a generator.
"""

import asyncio
import inspect
import io
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import TypeVar

from speedclaims.errors import SpeedclaimsError

T = TypeVar("T")
Clock = Callable[[], float]

NUM_EMPTY_TIMINGS = 1000
CREATION = "or return None to time its creation alone"

_HANDLES = (
    ({"result", "done", "cancel"}, ".result()"),  # concurrent.futures and Dask's
    ({"get", "ready", "wait"}, ".get()"),  # multiprocessing.pool
    ({"wait", "done", "then"}, ".wait()"),  # torch.futures
    ({"join", "start", "is_alive"}, ".join()"),  # threads and processes
)
"""Methods by which a handle of work elsewhere is known, and the method that waits for the work."""
_LAZY_LIBRARIES = ("dask", "polars", "pyspark")


class RefusedError(SpeedclaimsError, TypeError):
    """A callable whose time, or whose verdict, would not be that of its work."""


class Loop:
    """Hold the event loop of a pair, the same for both sides: made when a side first needs it."""

    def __init__(self, factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        """Keep the function that makes the loop.

        Raises:
            TypeError: it is not callable.
        """
        if factory is not None and not callable(factory):
            raise TypeError(
                f"loop_factory is {type(factory).__name__}, not callable: give asyncio.new_event_loop or such"
            )
        self._factory = factory or asyncio.new_event_loop  # named, or the runner makes its loop the current one
        self._runner: asyncio.Runner | None = None

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run a coroutine on the loop and return its result.

        Raises:
            RefusedError: an event loop is running in this thread already.
        """
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - get_running_loop raises instead
            coroutine.close()
            raise RefusedError(
                "a side is to be awaited, and an event loop is running already: measure in a plain function"
            )
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=self._factory)
        return self._runner.run(coroutine)

    def close(self) -> None:
        """Close the loop if there is one."""
        if self._runner is not None:
            self._runner.close()


class Call:
    """Call a function of a pair and return its result when it is there.

    An awaitable is awaited on the pair's event loop, and arrays of JAX are waited for. What the first call returns says
    which of them it is.

    Attributes:
        name: what error lines call it, such as ``the before side``.
        is_known: whether a first call has been made.
    """

    def __init__(self, function: Callable[[], object], name: str, loop: Loop, *, waits: bool = True) -> None:
        """Keep the function.

        Args:
            function: a function of no arguments.
            name: what error lines call it.
            loop: the pair's event loop.
            waits: wait for arrays of JAX; the pair's own ``synchronize`` waits instead where a test gives one.
        """
        self.name = name
        self._function = function
        self._loop = loop
        self._waits = waits
        self.is_known = False
        self._is_async = False
        self._ready: Callable[[object], object] | None = None

    def __call__(self) -> object:
        """Make one call and return its result."""
        if not self.is_known:
            return self._first(_no_clock)[1]
        if self._is_async:
            return self._loop.run(self._on_loop(1, _nothing, _no_clock))[1]
        result = self._function()
        return result if self._ready is None else self._ready(result)

    def seconds(self, repeats: int, synchronize: Callable[[], object], clock: Clock) -> float:
        """Return the seconds of a number of calls and of waiting for the device after them.

        The clock of an async side is read inside one coroutine that awaits all calls: starting the event loop is not
        in the time. The clock of the first call stops between the call and its awaiting, where the loop is made.
        """
        if not self.is_known:
            took, _ = self._first(clock)
            start = clock()
            synchronize()
            took += clock() - start
            return took if repeats == 1 else took + self.seconds(repeats - 1, synchronize, clock)
        if self._is_async:
            return self._loop.run(self._on_loop(repeats, synchronize, clock))[0]
        call, ready, calls = self._function, self._ready, range(repeats)
        start = clock()
        if ready is None:
            for _ in calls:
                call()
        else:
            for _ in calls:
                ready(call())
        synchronize()
        return clock() - start

    async def _on_loop(self, repeats: int, synchronize: Callable[[], object], clock: Clock) -> tuple[float, object]:
        """Return the seconds of a number of calls, and the last result."""
        function, ready, result = self._function, self._ready, None
        start = clock()
        for _ in range(repeats):
            result = await function()  # type: ignore[misc] # its first call returned an awaitable
            if ready is not None:
                ready(result)
        synchronize()
        return clock() - start, result

    def _first(self, clock: Clock) -> tuple[float, object]:
        """Make the first call, note what the function is, and return the seconds and the result.

        Raises:
            RefusedError: the result is not there yet, and nothing here can wait for it.
        """
        start = clock()
        try:
            result = self._function()
        except RuntimeError as error:
            if not any(words in str(error) for words in ("no running event loop", "no current event loop")):
                raise
            # It makes a task: there must be a loop when it is called.
            self._is_async = True
            took, result = self._loop.run(self._on_loop(1, _nothing, clock))
        else:
            took = clock() - start
            if isinstance(result, Awaitable) and _how_to_get(result) is None:
                self._is_async = True
                more, result = _finish(result, self._loop, clock)
                took += more
        refuse_unfinished(result, self.name, CREATION)
        if self._waits:
            self._ready = _ready(result)
            if self._ready is not None:
                start = clock()
                self._ready(result)
                took += clock() - start
        self.is_known = True
        return took, result


def _nothing() -> None:
    """Wait for nothing."""


def _no_clock() -> float:
    return 0.0


def _finish(awaitable: Awaitable[object], loop: Loop, clock: Clock) -> tuple[float, object]:
    """Await what a side returned outside the pair's loop, and return the seconds and the result."""
    if asyncio.isfuture(awaitable):  # it belongs to the loop that was current when it was made
        start = clock()
        result = awaitable.get_loop().run_until_complete(awaitable)
        return clock() - start, result

    async def finish() -> tuple[float, object]:
        start = clock()
        result = await awaitable
        return clock() - start, result

    return loop.run(finish())


def _ready(result: object) -> Callable[[object], object] | None:
    """Return the function of JAX that waits for a result and returns it, if there are arrays of JAX in it."""
    jax = sys.modules.get("jax")
    if jax is None or not any(hasattr(leaf, "block_until_ready") for leaf in jax.tree_util.tree_leaves(result)):
        return None
    wait: Callable[[object], object] = jax.block_until_ready
    return wait


def empty_seconds(clock: Clock) -> float:
    """Return the seconds between two readings of the clock with no call between them, the least of many."""
    empty = Call(_nothing, "nothing", Loop())
    empty()
    return min(empty.seconds(0, _nothing, clock) for _ in range(NUM_EMPTY_TIMINGS))


def refuse_unfinished(result: object, name: str, alternative: str = "") -> None:
    """Refuse a result that is not there yet.

    A container is refused for its first item. An open file is a result: opening it is the work.

    Args:
        result: what a callable returned.
        name: what the line calls the callable.
        alternative: what else to do than to consume the result.

    Raises:
        RefusedError: it is a coroutine, a generator, another lazy iterator, a future or a lazy frame.
    """
    what, how = describe(result), how_to_consume(result)
    if how is None:
        item: object = None
        if isinstance(result, list | tuple | set) and result:
            item = next(iter(result))
        elif isinstance(result, Mapping) and result:
            item = next(iter(result.values()))
        what, how = f"{what} whose first item is {describe(item)}", how_to_consume(item)
    if how is not None:
        if inspect.iscoroutine(result):
            result.close()  # else Python warns that nobody awaited it
        raise RefusedError(
            f"{name} returns {what}: its work is not done; {how}" + (f", {alternative}" if alternative else "")
        )


def describe(result: object) -> str:
    """Return the type of a result with its article."""
    if inspect.isasyncgen(result):
        return "an async generator"
    name = type(result).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def how_to_consume(result: object) -> str | None:
    """Return what a callable must do so that its result is there when it returns, or None where it is."""
    if isinstance(result, io.IOBase):
        return None
    how = _how_to_get(result)
    if how is not None:
        return how
    if isinstance(result, Awaitable):
        return "run it in a plain function, for example with asyncio.run(...)"
    if isinstance(result, AsyncIterator) and result.__aiter__() is result:
        return "consume it in the callable, for example with async for"
    if isinstance(result, Iterator) and iter(result) is result:  # else it is a container, which can be read twice
        return "consume it in the callable, for example with list(...)"
    return None


def _how_to_get(result: object) -> str | None:
    """Return how to wait for work in another thread or process, or to compute a lazy frame; None for other results."""
    if asyncio.isfuture(result):
        return None
    kind = type(result)  # a Mock has every attribute, its type has not
    methods = set(dir(kind))
    for names, how in _HANDLES:
        if names <= methods:
            return f"wait for it in the callable with {how}"
    if hasattr(kind, "__dask_graph__"):
        return "compute it in the callable with .compute()" if result.__dask_graph__() is not None else None  # type: ignore[attr-defined]
    if "Lazy" in kind.__name__ or kind.__module__.partition(".")[0] in _LAZY_LIBRARIES:
        for method in ("collect", "compute"):
            if callable(getattr(kind, method, None)):
                return f"compute it in the callable with .{method}()"
    return None


def accepts(function: Callable[..., object], num_arguments: int = 0) -> bool:
    """Whether a function takes this number of arguments; True where its signature is not known.

    A decorator may give its function arguments that nobody else does, so the wrapper counts.
    """
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # a builtin such as list.clear, or an object that answers to every name
        return True
    try:
        signature.bind(*range(num_arguments))
    except TypeError:
        return False
    return True


def needed_arguments(function: Callable[..., object]) -> int | None:
    """Return how many arguments a function, or the one behind its decorators, needs; None where that is not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return sum(one.default is one.empty and one.kind not in _VARIABLE for one in parameters)


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def cached_name(side: object) -> str | None:
    """Return the name of the function that caches a side's results, or None.

    It is found behind partials, bound methods and decorators, and among the functions that a lambda names.
    """
    waiting = [side]
    while waiting:
        one = waiting.pop()
        if _caches(one):
            return str(getattr(one, "__qualname__", type(one).__name__))
        if isinstance(one, partial):
            waiting.append(one.func)
        elif inspect.ismethod(one):
            waiting.append(one.__func__)
        elif inspect.isfunction(one):
            waiting.append(getattr(one, "__wrapped__", None))
            if one.__name__ == "<lambda>":
                named = inspect.getclosurevars(one)
                waiting += filter(_caches, (*named.globals.values(), *named.nonlocals.values()))
    return None


def _caches(function: object) -> bool:
    return hasattr(type(function), "cache_info") or (inspect.isfunction(function) and hasattr(function, "cache_info"))
