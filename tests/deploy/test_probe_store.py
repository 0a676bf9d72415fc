"""The probe tells a store with conditional writes from one that ignores the conditions."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest

Environment = dict[str, Any]


@pytest.fixture(scope="module")
def probe(deploy: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("probe_store", deploy / "probe_store.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def s3_server(bucket: str, ignored: tuple[str, ...]) -> Iterator[str]:
    """An S3 server on loopback, deaf to some headers."""
    server = pytest.importorskip("moto.server", reason="moto serves S3 on loopback")
    serving = pytest.importorskip("werkzeug.serving")
    import boto3

    moto = server.DomainDispatcherApplication(server.create_backend_app)

    def application(environment: Environment, start: Callable[..., Any]) -> Iterable[bytes]:
        for header in ignored:
            environment.pop(header, None)
        return moto(environment, start)

    class Quiet(serving.WSGIRequestHandler):  # type: ignore[misc, name-defined]
        def log(self, *args: Any) -> None:
            """Say nothing."""

    http = serving.make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    thread = Thread(target=http.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{http.server_port}"
    try:
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        client.create_bucket(Bucket=bucket)
        client.close()
        yield url
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.mark.parametrize(
    ("bucket", "ignored", "status", "verdict"),
    [
        ("sound", (), 0, "one winner a round"),
        ("deaf", ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"), 1, "LOSES COMMITS"),
    ],
)
def test_a_store_is_told_sound_or_not(
    probe: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bucket: str,
    ignored: tuple[str, ...],
    status: int,
    verdict: str,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with s3_server(bucket, ignored) as url:
        command = ["probe_store.py", f"s3://{bucket}/probe", "--endpoint", url]
        monkeypatch.setattr(sys, "argv", [*command, "--rounds", "3", "--writers", "4"])
        assert probe.main() == status
    assert verdict in capsys.readouterr().out
