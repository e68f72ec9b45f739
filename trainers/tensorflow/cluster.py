"""Join the workers that train together, which the environment variable TF_CONFIG names.

TensorFlow's own connecting waits up to an hour for a worker that does not come, and meanwhile no signal reaches Python.
So the workers first look for each other here, and TensorFlow connects when all are there.
"""

import contextlib
import faulthandler
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainers.contract import BadInput

__all__ = ["SECONDS_TO_MEET", "Cluster", "join_cluster", "read_cluster"]

SECONDS_TO_MEET = 50
"""How long a worker waits for the others to start."""

_EXAMPLE = '{"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'
_STDERR = 2


@dataclass(frozen=True)
class Cluster:
    """Hold the workers of one training.

    Attributes:
        addresses: `host:port` of every worker, the chief first if there is one.
        index: which of them this process is; the first writes the files.

    """

    addresses: tuple[str, ...]
    index: int


def read_cluster() -> Cluster | None:
    """Read the workers of this training from TF_CONFIG; None if it is not set or names one worker only.

    Raises:
        BadInput: TF_CONFIG is no JSON of the expected form, or names a task that it does not list or that is neither
            a worker nor the chief.

    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _bad(f"is no JSON ({error})") from error
    if config == {}:  # TensorFlow's default
        return None
    if not isinstance(config, dict) or not all(isinstance(config.get(key), dict) for key in ("cluster", "task")):
        raise _bad("has no cluster or no task")
    kind, index = config["task"].get("type"), config["task"].get("index")
    chiefs, workers = _tasks(config["cluster"], kind)
    everybody = (*chiefs, *workers)
    if len(chiefs) > 1 or len(set(everybody)) < len(everybody):
        raise _bad("has two chiefs, or one address twice")
    if not isinstance(index, int) or not 0 <= index < len(chiefs if kind == "chief" else workers):
        raise _bad(f"has no {kind} of index {index!r}")
    if len(everybody) == 1:
        return None
    return Cluster(everybody, index if kind == "chief" else index + len(chiefs))


def _tasks(jobs: Mapping[str, Any], kind: object) -> tuple[list[str], list[str]]:
    """Return the addresses of the chief, if there is one, and of the workers; `kind` is that of this process."""
    for job in (*jobs, kind):
        if job not in ("chief", "worker"):  # no set: what JSON gave may have no hash
            raise _bad(f"names tasks of type {job!r}, where only workers and a chief can train")
    for addresses in jobs.values():
        if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
            raise _bad("has addresses that are not of the form host:port")
    return jobs.get("chief", []), jobs.get("worker", [])


def join_cluster(cluster: Cluster) -> Any:
    """Wait for the other workers, and return a `tf.distribute.MultiWorkerMirroredStrategy` of all.

    TensorFlow must not have run any operation in this process.

    Raises:
        BadInput: a worker does not come within `SECONDS_TO_MEET`, or this one's port is in use.

    """
    import tensorflow as tf  # noqa: PLC0415 - bad input must not wait for the import

    _wait_for_all(cluster)
    # A worker that dies just now would be waited for without end.
    faulthandler.dump_traceback_later(SECONDS_TO_MEET, exit=True, file=_STDERR)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    finally:
        faulthandler.cancel_dump_traceback_later()
        if threading.current_thread() is threading.main_thread():
            # TensorFlow has taken over SIGTERM, and does nothing about one.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def _wait_for_all(cluster: Cluster) -> None:
    """Wait until every worker listens, this one too; who has found all others lets TensorFlow have the port."""
    deadline = time.monotonic() + SECONDS_TO_MEET
    others = [address for number, address in enumerate(cluster.addresses) if number != cluster.index]
    with _listening(cluster.addresses[cluster.index]):
        for address in others:
            while not _answers(address):
                if time.monotonic() > deadline:
                    what = f"no worker answers at {address} after {SECONDS_TO_MEET} seconds"
                    raise BadInput(what, "TF_CONFIG", "start all workers within this time, with the same addresses")
                time.sleep(0.1)


def _listening(address: str) -> socket.socket:
    port = _parts(address)[1]
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6)
    except OSError as error:
        raise BadInput(f"port {port} cannot be used ({error.strerror})", "TF_CONFIG", "choose another port") from error


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(_parts(address), timeout=1).close()
        return True
    return False


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _is_address(text: object) -> bool:
    match = re.fullmatch(r".+:([0-9]{1,5})", text) if isinstance(text, str) else None
    return match is not None and 0 < int(match[1]) < 2**16


def _bad(what: str) -> BadInput:
    return BadInput(what, "TF_CONFIG", f"write it as {_EXAMPLE}, or unset it")
