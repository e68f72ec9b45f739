"""Exchange messages with a process on this machine, one line of JSON each."""

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from speedclaims.errors import SpeedclaimsError
from speedclaims.record.json_types import Json, JsonObject

_POLL_S = 0.05


class ClosedError(SpeedclaimsError):
    """The process at the other end has gone."""


class Channel:
    """A connection over which both ends send messages."""

    def __init__(self, connection: socket.socket) -> None:
        """Take a connected socket."""
        self._connection = connection
        self._file = connection.makefile("rwb")

    def send(self, message: Json) -> None:
        """Send a message.

        Raises:
            ClosedError: nobody is there.
        """
        try:
            self._file.write(json.dumps(message).encode() + b"\n")
            self._file.flush()
        except (OSError, ValueError):
            raise ClosedError("the process at the other end has gone") from None

    def receive(self) -> Json:
        """Wait for a message and return it.

        Raises:
            ClosedError: nobody is there.
        """
        try:
            line = self._file.readline()
        except (OSError, ValueError):
            line = b""
        if not line.endswith(b"\n"):
            raise ClosedError("the process at the other end has gone")
        return json.loads(line)

    def ask(self, do: str, **what: Json) -> JsonObject:
        """Send a request, and return its answer.

        Raises:
            ClosedError: nobody is there.
        """
        self.send({"do": do, **what})
        answer: JsonObject = self.receive()
        return answer

    def close(self) -> None:
        """Close the connection."""
        for one in (self._file, self._connection):
            with suppress(OSError):
                one.close()


class Listener:
    """Waits for one process to connect, which must know the listener's address."""

    def __init__(self) -> None:
        """Listen on the loopback interface."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(_POLL_S)
        self._secret = secrets.token_hex(16)

    @property
    def address(self) -> str:
        """Port and secret, by which a process connects."""
        return f"{self._socket.getsockname()[1]}:{self._secret}"

    def accept(self) -> Channel | None:
        """Wait a moment; return the connection of the process that knows the secret, None where there is none yet."""
        try:
            connection, _ = self._socket.accept()
        except TimeoutError:
            return None
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = Channel(connection)
        try:
            if secrets.compare_digest(str(channel.receive()), self._secret):
                return channel
        except ClosedError:
            pass
        channel.close()
        return None

    def __enter__(self) -> Self:
        """Return the listener."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self._socket.close()


@contextmanager
def connected(address: str) -> Iterator[Channel]:
    """Connect to the process that listens at an address."""
    port, _, secret = address.partition(":")
    connection = socket.create_connection(("127.0.0.1", int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    channel = Channel(connection)
    try:
        channel.send(secret)
        yield channel
    finally:
        channel.close()
