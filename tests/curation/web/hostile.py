"""Servers that do harm, on loopback: well-formed HTTP with evil content, and raw sockets that break the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import struct
import threading
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from PIL import Image

Handler = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
SLOW = 30.0  # seconds that a handler stays, if nobody ends it


def jpeg(side: int = 16) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((side, side), 60).save(buffer, "JPEG")
    return buffer.getvalue()


def bomb_png(side: int = 30_000) -> bytes:
    """A PNG of 900 megapixels in a few hundred bytes."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def response(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    lines = {"Content-Type": "image/jpeg", "Content-Length": str(len(body)), "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


class Server:
    """A raw HTTP server in a thread. replies: path -> bytes, or a coroutine that writes; others get a photograph."""

    def __init__(self, replies: dict[str, bytes | Handler], robots: bytes | Handler | None = None, context: Any = None) -> None:
        self.replies = {"/robots.txt": robots or response(b"", "404 Not Found")} | replies
        self.context = context  # an ssl.SSLContext, for https
        self.asked: list[str] = []
        self.headers: list[str] = []
        self.photo = jpeg()

    def __enter__(self) -> Server:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        future = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context), self.loop
        )
        self.server = future.result()
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self.server.close()
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()

        asyncio.run_coroutine_threadsafe(end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError
        ):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split()[1]
            self.asked.append(path)
            self.headers.append(head)
            reply = self.replies.get(path.partition("?")[0], response(self.photo))
            if callable(reply):
                await reply(path, writer)
            else:
                writer.write(reply)
                await writer.drain()
        with contextlib.suppress(Exception):
            writer.close()


def endless(first: bytes, then: bytes, pause: float = 0.0) -> Handler:
    """`first`, then `then` for ever."""

    async def write(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(then)
            await writer.drain()
            await asyncio.sleep(pause)

    return write


async def silence(_path: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(SLOW)


async def hang_up(_path: str, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def gzip_bomb(size: int = 64 << 20) -> bytes:
    return gzip.compress(bytes(size))


def resolver(*answers: str) -> Callable[[], Any]:
    """Makes a resolver that gives the next of `answers` at every look-up, the last one for ever."""
    from aiohttp.abc import AbstractResolver

    class Changing(AbstractResolver):
        def __init__(self) -> None:
            self.left = list(answers)

        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[Any]:
            address = self.left.pop(0) if len(self.left) > 1 else self.left[0]
            return [
                {"hostname": host, "host": address, "port": port, "family": 10 if ":" in address else 2, "proto": 0, "flags": 0}
            ]

        async def close(self) -> None:
            pass

    return Changing
