"""A proxy that does something wrong with requests at random, and passes all others on."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests

from loopback import LOGIN_PAGE, NO_FAULT, Answer, Fault, FileServer, Request

KINDS: Mapping[str, Fault] = {
    "body cut": Fault(cut=1500),
    "body cut by a reset": Fault(cut=900, reset=True),
    "nothing but a header": Fault(cut=0),
    "stall": Fault(cut=700, stall=True),
    "429": Fault(429, headers={"Retry-After": "1"}),
    "500": Fault(500),
    "503": Fault(503),
    "504": Fault(504),
    "wrong length": Fault(headers={"Content-Length": "9999999"}),
    "credentials expired": Fault(401),
    "login page": Fault(body=LOGIN_PAGE, headers={"Content-Type": "text/html", "ETag": ""}),
}
"""What real servers and the networks before them do, by name."""

PASSED_ON = ("content-type", "etag", "last-modified", "accept-ranges", "content-range", "link")


class FlakyProxy(FileServer):
    """Stands before another server; a context manager.

    The addresses of that server in what it says are put in order, so that a client that follows
    links stays with the proxy.

    Parameters
    ----------
    upstream
        URL of the real server.
    share
        Of the requests that a fault befalls.
    due
        Faults that come first, one a request.
    certificate
        To be an HTTPS server with; `verify` is then the authority's file.
    """

    def __init__(
        self,
        upstream: str,
        *,
        share: float = 0.0,
        seed: int = 0,
        due: Iterable[str] = (),
        certificate: Any = None,
        verify: str | None = None,
    ) -> None:
        super().__init__(Path(), certificate)
        self.upstream = upstream
        self.share = share
        self.due = deque(due)
        self.injected: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._verify = verify

    def take(self, request: Request) -> Fault:
        """A fault that is due, or one at random, or none."""
        with self._lock:
            self.requests.append(request)
            if self.due:
                kind = self.due.popleft()
            elif self._random.random() < self.share:
                kind = self._random.choice(list(KINDS))
            else:
                return NO_FAULT
            self.injected[kind] += 1
            return KINDS[kind]

    def answer(self, request: Request, *, whole: bool = False) -> Answer:
        """Ask the real server."""
        left_out = {"host", "connection", "accept-encoding", "content-length"}
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in left_out
        }
        query = f"?{urlencode(request.query, doseq=True)}" if request.query else ""
        with requests.Session() as session:
            session.trust_env = False  # what the client sent is all that is sent
            got = session.request(
                request.method,
                f"{self.upstream}{request.path}{query}",
                data=request.body,
                headers=headers | {"Accept-Encoding": "identity"},
                verify=self._verify,
                timeout=30,
            )
        length = got.headers.get("Content-Length", "0")
        kept = {
            name: value
            for name, value in got.headers.items()
            if name.lower() in PASSED_ON or name.lower().startswith("cmr-")
        }
        if request.method == "HEAD":
            return Answer(got.status_code, b"", kept | {"Content-Length": length})
        body = got.content
        if "json" in got.headers.get("Content-Type", ""):
            body = body.replace(self.upstream.encode(), self.url.encode())
        return Answer(got.status_code, body, kept)
