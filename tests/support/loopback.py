"""HTTP servers on loopback: files by range with faults on demand, and NASA's catalogue and login.

`FileServer` serves a folder. `EarthdataServer` adds what earthaccess talks to: a catalogue (CMR)
that filters and pages UMM-G records as the real one does, and a login that gives out tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import struct
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

LOGIN_PAGE = b"<!DOCTYPE html><html><title>Log in</title><input type=password></html>"


@dataclass(frozen=True)
class Fault:
    """What a server does wrong with one request; all else goes its usual way."""

    status: int | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Instead of, or besides, the usual ones."""
    cut: int | None = None
    """Break off after that many bytes of the body."""
    reset: bool = False
    """Break off with a reset in place of a plain end."""
    stall: bool = False
    """Say nothing more after `cut` bytes, and keep the connection open."""
    no_range: bool = False
    """Send the whole file whatever is asked for."""

    def __str__(self) -> str:
        told = {name: value for name, value in vars(self).items() if value not in (None, False, {})}
        if self.body is not None:
            told["body"] = f"{self.body[:12]!r}+{len(self.body)}"
        return " ".join(f"{name}={value}" for name, value in told.items())


NO_FAULT = Fault()


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class FileServer:
    """Serves the files of a folder, whole or by range; a context manager.

    `faults` holds, by path, what goes wrong with the next requests for it, one entry a request;
    `always` what goes wrong with every one.
    """

    def __init__(self, root: Path, certificate: Any = None) -> None:
        self.root = root
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.always: dict[str, Fault] = {}
        self.requests: list[Request] = []
        self.bytes_sent = 0
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        # A client that hangs up, or refuses the certificate, is what some tests are about.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def asked(self, path: str) -> list[Request]:
        """The requests for one path so far."""
        return [request for request in self.requests if request.path == path]

    def take(self, request: Request) -> Fault:
        """Note a request; give the fault that is due."""
        with self._lock:
            self.requests.append(request)
            waiting = self.faults[request.path]
            return waiting.pop(0) if waiting else self.always.get(request.path, NO_FAULT)

    def count(self, sent: int) -> None:
        with self._lock:
            self.bytes_sent += sent

    def answer(self, request: Request, *, whole: bool = False) -> Answer:
        """A file, or a part of it (RFC 9110, sections 13 and 14)."""
        file = self.root / unquote(request.path).lstrip("/")
        if not file.is_file():
            return Answer(404)
        body = file.read_bytes()
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        headers = {"Content-Type": "image/tiff", "ETag": tag, "Accept-Ranges": "bytes"}
        wanted = request.headers.get("Range")
        condition = request.headers.get("If-Range", tag)
        if wanted is None or whole or condition != tag:
            return Answer(200, body, headers)
        first = int(wanted.removeprefix("bytes=").split("-")[0])
        if first >= len(body):
            return Answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        return Answer(206, body[first:], headers)


def _handler(owner: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, url.path, parse_qs(url.query), self.headers, body)  # type: ignore[arg-type]
            fault = owner.take(request)
            answer = owner.answer(request, whole=fault.no_range)
            if fault.status is not None:
                answer = Answer(fault.status)
            if fault.body is not None:
                answer.body = fault.body
            self._send(answer, fault)

        do_POST = do_HEAD = do_GET

        def _send(self, answer: Answer, fault: Fault) -> None:
            headers = {"Content-Length": str(len(answer.body))} | answer.headers
            self.send_response(answer.status)
            for name, value in (headers | dict(fault.headers)).items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            body = b"" if self.command == "HEAD" else answer.body[: fault.cut]
            self.wfile.write(body)
            self.wfile.flush()
            owner.count(len(body))
            if fault.stall:
                owner.released.wait(30)
            if fault.reset:
                # Lingering for no time at all makes the kernel send a reset.
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


class EarthdataServer(FileServer):
    """Catalogue, login and protected files, as earthaccess finds them; a context manager."""

    CATALOGUE = "/search/granules.umm_json"
    LOGIN = "/api/users/find_or_create_token"

    def __init__(
        self, root: Path, certificate: Any, records: Iterable[dict[str, Any]] = (), page: int = 2000
    ) -> None:
        super().__init__(root, certificate)
        self.records = list(records)
        self.page = page
        """Records that one page holds at most, however many are asked for."""
        self.token: str | None = None
        """What a request for a file must carry; None for no protection."""
        self.user = ("somebody", "a word")
        self.login_page = False
        """Whether strangers get a page with status 200 in place of a 401."""
        self.logins = 0

    def answer(self, request: Request, *, whole: bool = False) -> Answer:
        if request.path == self.CATALOGUE:
            return self._search(request)
        if request.path == self.LOGIN:
            return self._login(request)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            if self.login_page:
                return Answer(200, LOGIN_PAGE, {"Content-Type": "text/html; charset=utf-8"})
            return Answer(401)
        return super().answer(request, whole=whole)

    def _login(self, request: Request) -> Answer:
        word = base64.b64encode(":".join(self.user).encode()).decode()
        if request.headers.get("Authorization") != f"Basic {word}":
            return Answer(401, b'{"error":"invalid_credentials"}')
        self.logins += 1
        token = {"access_token": self.token, "expiration_date": "01/01/2030"}
        return Answer(200, json.dumps(token).encode(), {"Content-Type": "application/json"})

    def _search(self, request: Request) -> Answer:
        hits = [record for record in self.records if matches(record, request.query)]
        start = int(json.loads(request.headers.get("CMR-Search-After", "[0]"))[0])
        size = min(int(request.query["page_size"][0]), self.page)
        items = hits[start : start + size]
        headers = {
            "Content-Type": "application/vnd.nasa.cmr.umm_results+json;version=1.6.6",
            "CMR-Hits": str(len(hits)),
        }
        if items:
            headers["CMR-Search-After"] = json.dumps([start + len(items)])
        body = {"hits": len(hits), "took": 9, "items": items}
        return Answer(200, json.dumps(body).encode(), headers)


def matches(record: dict[str, Any], query: Mapping[str, list[str]]) -> bool:
    """Whether CMR would find a record: collection, rectangle, and overlap in time."""
    umm = record["umm"]
    reference = umm["CollectionReference"]
    start, _, end = query["temporal[]"][0].partition(",")
    span = umm["TemporalExtent"]["RangeDateTime"]
    return (
        [reference["ShortName"]] == query["short_name"]
        and [reference["Version"]] == query["version"]
        and span["EndingDateTime"] >= start
        and (not end or span["BeginningDateTime"] <= end)
        and _overlaps(umm, [float(side) for side in query["bounding_box"][0].split(",")])
    )


def _overlaps(umm: dict[str, Any], box: list[float]) -> bool:
    geometry = umm["SpatialExtent"]["HorizontalSpatialDomain"]["Geometry"]
    west, south, east, north = box
    return any(
        one["WestBoundingCoordinate"] <= east
        and one["EastBoundingCoordinate"] >= west
        and one["SouthBoundingCoordinate"] <= north
        and one["NorthBoundingCoordinate"] >= south
        for one in geometry["BoundingRectangles"]
    )


def record_of(
    umm: Mapping[str, Any], name: str, urls: Iterable[str], files: Iterable[Path] = ()
) -> dict[str, Any]:
    """A record as CMR gives it, from what is known of a granule.

    Parameters
    ----------
    umm
        CollectionReference, SpatialExtent, TemporalExtent.
    name
        Of the granule.
    urls
        Of its files.
    files
        The files, for sizes and checksums.
    """
    archive = [
        {
            "Name": file.name,
            "SizeInBytes": file.stat().st_size,
            "Size": file.stat().st_size / 2**20,
            "SizeUnit": "MB",
            "Checksum": {
                "Value": hashlib.md5(file.read_bytes()).hexdigest(),
                "Algorithm": "MD5",
            },
        }
        for file in files
    ]
    links = [{"URL": url, "Type": "GET DATA", "Description": "Download"} for url in urls]
    s3 = [
        {"URL": f"s3://bucket{urlsplit(url).path}", "Type": "GET DATA VIA DIRECT ACCESS"}
        for url in urls
    ]
    number = int(hashlib.md5(name.encode()).hexdigest()[:8], 16)
    content = {"GranuleUR": name, "RelatedUrls": [*links, *s3], **umm}
    if archive:
        content["DataGranule"] = {"ArchiveAndDistributionInformation": archive}
    return {"meta": {"concept-id": f"G{number}-LPCLOUD", "native-id": name}, "umm": content}
