"""Tests of `cadtwist.client.aio`, each in an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.client.aio import AioClient, ask_in_loop
from tests.client.fakes import SETTINGS, FakeServer


class AioTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = FakeServer()
        self.waits: list[tuple[float, asyncio.Future[None]]] = []
        self.killed: list[bool] = []

    def client(self, process: str = "") -> AioClient:
        async def sleep(seconds: float) -> None:
            wait = asyncio.get_running_loop().create_future()
            self.waits.append((seconds, wait))
            await wait

        return AioClient(replace(SETTINGS, process=process), self.ask, lambda: self.killed.append(True), sleep)

    async def ask(self, path: str, body: bytes, seconds: float) -> tuple[int, bytes]:
        return self.server.ask(path, body, seconds)

    def run_with(self, test: Callable[[AioClient], Awaitable[None]], **changes: Any) -> None:
        async def run() -> None:
            async with self.client(**changes) as client:
                await self.settle()
                await test(client)

        asyncio.run(run())

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def over(self) -> float:
        """End the oldest wait; return how long it was to be."""
        seconds, wait = self.waits.pop(0)
        wait.set_result(None)
        await self.settle()
        return seconds

    def test_each_period_is_sent(self) -> None:
        async def test(client: AioClient) -> None:
            client.agg("a", "1c")
            self.assertEqual(await self.over(), 5.0)
            await self.over()
            self.assertEqual([len(put) for put in self.server.puts], [1, 0])
            client.agg("a", "2c")

        self.run_with(test)
        self.assertEqual(self.server.total(), 3, "the end sends the rest")

    def test_a_dead_server_and_its_return(self) -> None:
        async def test(client: AioClient) -> None:
            for away in (ConnectionRefusedError(), asyncio.TimeoutError(), ConnectionResetError()) * 5:
                self.server.away = away
                client.agg("a", "1c")
                await self.over()
            self.server.away = None
            self.assertEqual(client.core.failures, 15)

        self.run_with(test)
        self.assertEqual((self.server.total(), len(self.server.puts)), (15, 1))

    def test_a_stop_lets_a_request_end(self) -> None:
        release: list[asyncio.Future[None]] = []
        plain = self.ask

        async def slow(path: str, body: bytes, seconds: float) -> tuple[int, bytes]:
            if not release:
                release.append(asyncio.get_running_loop().create_future())
                await release[0]
            return await plain(path, body, seconds)

        self.ask = slow  # type: ignore[method-assign]

        async def test(client: AioClient) -> None:
            client.agg("a", "1c")
            await self.over()
            stopped = asyncio.ensure_future(client.stop())
            await self.settle()
            release[0].set_result(None)
            await stopped

        self.run_with(test)
        self.assertEqual(self.server.total(), 1)

    def test_values_are_ignored_while_it_is_stopped(self) -> None:
        self.assertFalse(self.client().agg("a", "1c"))

    def test_processes(self) -> None:
        refused = ConnectionRefusedError()
        self.server.answers = [refused, refused, ConnectionResetError(), (500, b""), (200, b"{}"),
                               (200, f"{SETTINGS.auth}-web".encode())]  # fmt: skip

        async def test(client: AioClient) -> None:
            del client
            pushes = self.waits.pop(0)
            found = []
            while not self.killed:
                found.append(await self.over())
            self.assertEqual((pushes[0], found), (5.0, [1, 2, 0.1, 1, 0.1]))

        self.run_with(test, process="web")


class AskTests(SynchronousTestCase):
    def answered(self, *answer: bytes) -> Any:
        async def run() -> Any:
            got: list[bytes] = []

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                got.append(await reader.readuntil(b"body"))
                for part in answer:
                    writer.write(part)
                    await writer.drain()
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            async with server:
                port = server.sockets[0].getsockname()[1]
                ask = ask_in_loop(replace(SETTINGS, http_host="127.0.0.1", http_port=port))
                found: Any
                try:
                    found = await ask("/x?y", b"body", 30)
                except OSError as error:
                    found = error
            self.assertTrue(got[0].startswith(b"PUT /x?y HTTP/1.0\r\n"))
            return found

        return asyncio.run(run())

    def test_answers(self) -> None:
        self.assertEqual(self.answered(b"HTTP/1.1 200 OK\r\nContent-", b"Length: 2\r\n\r\n{", b"}"), (200, b"{}"))
        self.assertEqual(self.answered(b"HTTP/1.0 503 Away\r\n\r\n"), (503, b""))
        for wrong in (b"", b"garbage", b"HTTP/1.1 ok\r\n\r\n"):
            self.assertIsInstance(self.answered(wrong), ConnectionResetError)

    def test_nobody_there(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            where = replace(SETTINGS, http_host="127.0.0.1", http_port=taken.getsockname()[1])

            async def run() -> None:
                with self.assertRaises(ConnectionRefusedError):
                    await ask_in_loop(where)("/x", b"", 30)

            asyncio.run(run())
