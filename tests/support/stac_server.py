"""Servers on loopback: files by range, scripted answers, and a real STAC API (``rustac``)."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import pytest


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    """Without the query."""
    query: str
    body: bytes
    range: str | None
    number: int
    """Of all requests to this server, from 1."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What a server says; with `cut` it breaks off after that many bytes of the body."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None

    @classmethod
    def of(cls, content: Any, status: int = 200) -> Answer:
        return cls(status, json.dumps(content).encode(), (("Content-Type", "application/json"),))


HANG_UP = Answer(0)
"""Not a word: the connection is closed."""


class Loopback:
    """A threaded HTTP server that answers by a function; a context manager."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.sent = 0
        """Bytes of bodies."""
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, request: Callable[[int], Request]) -> Answer:
        with self._lock:
            arrived = request(len(self.requests) + 1)
            self.requests.append(arrived)
        return self.answer(arrived)

    def count(self, sent: int) -> None:
        with self._lock:
            self.sent += sent

    def reset(self) -> None:
        self.requests.clear()
        self.sent = 0


class RangeServer(Loopback):
    """Serves the files of a folder, whole or by range; `fault` may answer instead."""

    def __init__(self, root: Path) -> None:
        super().__init__(self._file)
        self.root = root
        self.fault: Callable[[Request], Answer | None] = lambda request: None

    def _file(self, request: Request) -> Answer:
        instead = self.fault(request)
        if instead is not None and instead.cut is None:
            return instead
        file = self.root / unquote(request.path).lstrip("/")
        if not file.is_file():
            return Answer(404)
        whole = file.read_bytes()
        cut = instead.cut if instead else None
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.range or "")
        if not match:
            return Answer(200, whole, (("Accept-Ranges", "bytes"),), cut)
        first, last = int(match[1]), min(int(match[2] or len(whole)), len(whole) - 1)
        if first > last:
            return Answer(416, b"", (("Content-Range", f"bytes */{len(whole)}"),))
        where = ("Content-Range", f"bytes {first}-{last}/{len(whole)}")
        return Answer(206, whole[first : last + 1], (("Accept-Ranges", "bytes"), where), cut)


def _handler(owner: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = owner.respond(
                lambda number: Request(
                    self.command, url.path, url.query, body, self.headers.get("Range"), number
                )
            )
            if answer is HANG_UP:
                return
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                body = answer.body[: answer.cut]
                owner.count(len(body))
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


class StacServer:
    """``rustac serve``, a real STAC API over the items it is given; a context manager."""

    def __init__(self, items: list[dict[str, Any]], folder: Path) -> None:
        self.url = ""
        self._file = folder / "items.json"
        self._file.write_text(json.dumps({"type": "FeatureCollection", "features": items}))

    def __enter__(self) -> Self:
        program = Path(sys.executable).with_name("rustac")
        if not program.is_file():
            pytest.skip("needs the STAC API server of the package rustac")
        for _ in range(3):
            address = ("127.0.0.1", _free_port())
            name = f"{address[0]}:{address[1]}"
            self._process = subprocess.Popen(
                [program, "serve", "--addr", name, "--create-collections", self._file],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if _listens(address, self._process):
                self.url = f"http://{name}"
                return self
        raise RuntimeError("rustac did not start")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()


def _listens(address: tuple[str, int], process: subprocess.Popen[bytes]) -> bool:
    """Wait until a process listens; False if it ends, say since another took its port."""
    while process.poll() is None:
        try:
            socket.create_connection(address, timeout=10).close()
        except ConnectionRefusedError:
            os.sched_yield()
        else:
            return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def published(folder: Path, base: str) -> list[dict[str, Any]]:
    """The STAC items below a folder, with absolute hrefs as a catalogue gives them."""
    items = []
    for file in sorted(folder.rglob("*.json")):
        item = json.loads(file.read_text())
        for asset in item["assets"].values():
            path = (file.parent / asset["href"]).resolve()
            asset["href"] = f"{base}/{path.relative_to(folder.resolve())}"
            asset["file:size"] = path.stat().st_size
            asset["file:checksum"] = f"1220{path.stat().st_size:064x}"
        items.append(item)
    return items
