"""Direct access to the data centres' S3 buckets, from inside their AWS region."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cube.errors import GranuleError
from cube.sources.remote import GDAL_OPTIONS, explain, gdal_path

if TYPE_CHECKING:
    from cube.sources.earthdata_login import S3Credentials

REGION = "us-west-2"
"""Where NASA's buckets lie; the credentials are good for requests from there alone."""


@contextmanager
def direct(links: Mapping[str, str], credentials: S3Credentials) -> Iterator[dict[str, str]]:
    """Read files in S3 by window, with temporary credentials that GDAL alone gets to know.

    Parameters
    ----------
    links
        Layer to ``s3://`` URL.

    Yields
    ------
    dict
        Layer to the path under which GDAL reads it inside the ``with`` block.

    Raises
    ------
    GranuleError
        What reading raises, over the wire as `cube.sources.remote.explain`; a refusal says that
        this may not be the right region.
    """
    import rasterio
    from rasterio.session import Session

    class Temporary(Session):  # type: ignore[misc]
        """rasterio's own needs boto3, which is not among the dependencies."""

        def get_credential_options(self) -> dict[str, str]:
            return {
                "AWS_ACCESS_KEY_ID": credentials.key,
                "AWS_SECRET_ACCESS_KEY": credentials.secret,
                "AWS_SESSION_TOKEN": credentials.token,
                "AWS_REGION": REGION,
            }

    options = {name: value for name, value in GDAL_OPTIONS.items() if name not in os.environ}
    with rasterio.Env(Temporary(), **options):
        try:
            yield {layer: gdal_path(url) for layer, url in links.items()}
        except GranuleError as error:
            raise _explained(error, links) from None


def _explained(error: GranuleError, links: Mapping[str, str]) -> GranuleError:
    href = next(
        (url for url in links.values() if url.rsplit("/", 1)[-1] in str(error)),
        next(iter(links.values())),
    )
    told = explain(error, href, "")
    if told.kind != "unauthorised":
        return told
    return GranuleError(
        f"{href}: access is refused. The data centre's credentials for S3 work inside the AWS "
        f'region {REGION} only: run there, or fetch over HTTPS with access = "https"',
        kind="unauthorised",
    )
