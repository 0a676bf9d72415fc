"""An S3 server on loopback (moto), with a bucket and credentials in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import requests

BUCKET = "cubes"


@dataclass(frozen=True)
class Bucket:
    """An empty bucket, and how to reach it."""

    endpoint: str
    name: str = BUCKET

    @property
    def options(self) -> dict[str, Any]:
        """Storage options of a region file; credentials come from the environment."""
        return {
            "endpoint_url": self.endpoint,
            "region": "us-east-1",
            "allow_http": True,
            "force_path_style": True,
        }

    def url(self, prefix: str) -> str:
        """Place of a cube."""
        return f"s3://{self.name}/{prefix}"

    def tables(self, prefix: str) -> str:
        """The lines of a region file that put its cube here; they go before the first table."""
        options = ", ".join(f"{name} = {_toml(value)}" for name, value in self.options.items())
        return f'store = "{self.url(prefix)}"\nstorage_options = {{ {options} }}\n'


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


@contextmanager
def s3_bucket(environment: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Start a server on a free port, make a bucket, and set credentials in the environment."""
    moto = pytest.importorskip("moto.server", reason="needs moto[s3]")
    import boto3

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        environment.delenv(name, raising=False)
    environment.setenv("AWS_ACCESS_KEY_ID", "someone")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "a-word")
    environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
    environment.setenv("no_proxy", "127.0.0.1")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        # Servers of one process share what they hold: nothing of an earlier one may be seen.
        requests.post(f"{endpoint}/moto-api/reset", timeout=30).raise_for_status()
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield Bucket(endpoint)
    finally:
        server.stop()
