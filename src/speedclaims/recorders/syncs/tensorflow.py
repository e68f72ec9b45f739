"""Host-device synchronizations of TensorFlow: how often Python asks for the value of a tensor, and from where.

Nearly every way to a value goes through one method of eager tensors: ``numpy()``, ``float()``, ``bool()``,
``format()``. Three go round it and are watched too: the buffer protocol (``np.asarray(tensor)``, ``np.mean(tensor)``,
``memoryview(tensor)``), DLPack and ``cpu()``. What runs meanwhile must not be timed.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from speedclaims.recorders.syncs.counter import NothingToCountError, Syncs

_OPS = "tensorflow.python.framework.ops"
_ENTRY_MODULES = (_OPS, "tensorflow.python.dlpack.dlpack")


def is_imported() -> bool:
    """Whether this process has imported TensorFlow."""
    return _OPS in sys.modules


@contextmanager
def counting_syncs(syncs: Syncs | None = None) -> Iterator[Syncs]:
    """Count while the block runs.

    Args:
        syncs: what to add to; a new one by default.

    Raises:
        NothingToCountError: TensorFlow is not imported in this process.
    """
    if not is_imported():
        raise NothingToCountError("TensorFlow is not imported: import it before counting its synchronizations")
    syncs = Syncs() if syncs is None else syncs
    tensor = sys.modules[_OPS]._EagerTensorBase  # noqa: SLF001 - the one way to values
    entry_files = frozenset(str(sys.modules[name].__file__) for name in _ENTRY_MODULES if name in sys.modules)

    with ExitStack() as stack:
        for owner, name in ((tensor, "_numpy"), (tensor, "cpu"), (_capsules(), "TFE_ToDlpackCapsule")):
            stack.enter_context(patch.object(owner, name, syncs.counted(getattr(owner, name), entry_files)))
        for kind in tensor.__subclasses__():
            stack.enter_context(_watching_buffers(kind, syncs, entry_files))
        yield syncs


def _capsules() -> object:
    return sys.modules["tensorflow.python.pywrap_tfe"]


class _BufferProcs(ctypes.Structure):
    """CPython's ``PyBufferProcs``."""

    _fields_ = (("getbuffer", ctypes.c_void_p), ("releasebuffer", ctypes.c_void_p))


_GETBUFFER = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
_SLOT_OF_GETBUFFER = 1  # Py_bf_getbuffer
_FIELDS_BEFORE = 18  # pointers in a PyTypeObject between its ob_size and its tp_as_buffer


@contextmanager
def _watching_buffers(kind: type, syncs: Syncs, entry_files: frozenset[str]) -> Iterator[None]:
    """Count what takes a tensor's memory by the buffer protocol, which no method of Python's leads to before 3.12.

    Raises:
        NothingToCountError: this Python keeps the entry elsewhere; a count without it would be too low.
    """
    entry = ctypes.c_void_p.from_address(
        id(kind) + object.__basicsize__ + _FIELDS_BEFORE * ctypes.sizeof(ctypes.c_void_p)
    )
    get_slot = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_int)(("PyType_GetSlot", ctypes.pythonapi))
    known = get_slot(kind, _SLOT_OF_GETBUFFER)
    real_entry = entry.value
    if not real_entry or not known or _BufferProcs.from_address(real_entry).getbuffer != known:
        raise NothingToCountError("the buffer protocol of TensorFlow's tensors cannot be watched in this Python")
    real = _GETBUFFER(known)

    def counted(tensor: object, view: int, flags: int) -> int:
        try:
            status = int(real(tensor, view, flags))
        except Exception:  # noqa: BLE001 - nothing may be raised into C; NumPy then takes another way, counted there
            return -1
        syncs.note(sys._getframe(1), entry_files)  # noqa: SLF001 - the cheapest way to the caller
        return status

    entrance = _GETBUFFER(counted)
    procs = _BufferProcs(ctypes.cast(entrance, ctypes.c_void_p), _BufferProcs.from_address(real_entry).releasebuffer)
    entry.value = ctypes.addressof(procs)
    try:
        yield
    finally:
        entry.value = real_entry
