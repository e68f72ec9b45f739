"""Event loops: uvloop.

Each side has an event loop that stays open between its calls, with an echo server and its clients on it. A call is a
plain function that runs the loop until every client has had its answers. The start of a loop is not timed, and the
other side's loop does not run meanwhile.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial

import pytest
import uvloop

HOST, NUM_CLIENTS, NUM_MESSAGES, MOST_BYTES = "127.0.0.1", 10, 30, 1_000_000

Exchange = Callable[[bytes], Awaitable[bytes]]
"""Sends a message to the echo server and returns the answer."""


@asynccontextmanager
async def streams() -> AsyncIterator[list[Exchange]]:
    """Echo by asyncio's streams."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(MOST_BYTES):
            writer.write(data)
        writer.close()

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> bytes:
        writer.write(message)
        return await reader.readexactly(len(message))

    async with await asyncio.start_server(serve, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        clients = [await asyncio.open_connection(HOST, port) for _ in range(NUM_CLIENTS)]
        yield [partial(exchange, *client) for client in clients]
        for _, writer in clients:
            writer.close()
            await writer.wait_closed()


class EchoServer(asyncio.Protocol):
    """Send back what is received."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


class EchoClient(EchoServer):
    """Wait for as many bytes as were sent."""

    async def exchange(self, message: bytes) -> bytes:
        """Send a message and return the answer."""
        self.answer, self.num_bytes = bytearray(), len(message)
        self.is_complete = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        await self.is_complete
        return bytes(self.answer)

    def data_received(self, data: bytes) -> None:
        """Keep a part of the answer."""
        self.answer += data
        if len(self.answer) == self.num_bytes:
            self.is_complete.set_result(None)


@asynccontextmanager
async def protocol() -> AsyncIterator[list[Exchange]]:
    """Echo by protocols and transports."""
    loop = asyncio.get_running_loop()
    async with await loop.create_server(EchoServer, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        clients = [(await loop.create_connection(EchoClient, HOST, port))[1] for _ in range(NUM_CLIENTS)]
        yield [client.exchange for client in clients]
        for client in clients:
            client.transport.close()
        await asyncio.sleep(0.1)  # the server sees the ends of its connections


@asynccontextmanager
async def sockets() -> AsyncIterator[list[Exchange]]:
    """Echo by loop.sock_recv and loop.sock_sendall."""
    loop = asyncio.get_running_loop()

    async def serve(connection: socket.socket) -> None:
        with connection:
            while data := await loop.sock_recv(connection, MOST_BYTES):
                await loop.sock_sendall(connection, data)

    async def exchange(connection: socket.socket, message: bytes) -> bytes:
        await loop.sock_sendall(connection, message)
        answer = await loop.sock_recv(connection, MOST_BYTES)
        while len(answer) < len(message):
            answer += await loop.sock_recv(connection, MOST_BYTES)
        return answer

    with socket.create_server((HOST, 0)) as listening:
        clients = [socket.create_connection(listening.getsockname()) for _ in range(NUM_CLIENTS)]
        served = [listening.accept()[0] for _ in clients]
    for one in (*clients, *served):
        one.settimeout(0)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the other two kinds do by themselves
    servers = [loop.create_task(serve(one)) for one in served]
    yield [partial(exchange, client) for client in clients]
    for client in clients:
        client.close()
    await asyncio.gather(*servers)


async def exchange_all(exchanges: list[Exchange], message: bytes) -> list[bytes]:
    """Let all clients send a message again and again, and return the last answer of each."""

    async def repeat(exchange: Exchange) -> bytes:
        for _ in range(NUM_MESSAGES):
            answer = await exchange(message)
        return answer

    return await asyncio.gather(*map(repeat, exchanges))


@contextmanager
def echoing(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], kind: Callable, message: bytes
) -> Iterator[Callable[[], list[bytes]]]:
    """Open an event loop with a server and its clients, and yield the function that lets them exchange messages."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        stack = AsyncExitStack()
        exchanges = runner.run(stack.enter_async_context(kind()))
        try:
            yield lambda: runner.run(exchange_all(exchanges, message))
        finally:
            runner.run(stack.aclose())


@pytest.mark.speedup_claim("uvloop.asyncio")
@pytest.mark.parametrize("kib", [1, 10, 100], ids=lambda kib: f"{kib} KiB")
@pytest.mark.parametrize("kind", [streams, protocol, sockets], ids=lambda kind: kind.__name__)
def test_echo(pair, kind, kib):
    """Exchange messages between ten clients and an echo server on one loop: the kinds and sizes of uvloop's chart."""
    message = bytes(1024 * kib)
    with (
        echoing(asyncio.new_event_loop, kind, message) as before,
        echoing(uvloop.new_event_loop, kind, message) as after,
    ):
        pair(
            before,
            after,
            names=("asyncio", "uvloop"),
            units=NUM_CLIENTS * NUM_MESSAGES,
            equivalent=lambda first, second: first == second == [message] * NUM_CLIENTS,
        )
