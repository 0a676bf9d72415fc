"""STAC items of a catalogue that is searched over the wire."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cube.errors import SourceError
from cube.grid import lonlat_bounds
from cube.sources.base import Period
from cube.sources.stac_items import MALFORMED, Found, RawItem, considered

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pystac_client import ItemSearch
    from pystac_client.stac_api_io import StacApiIO

log = logging.getLogger("thermocube.sources")

PAGE = 100
"""Items a request; items of Sentinel-2 have 20 kB each."""
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two bytes."""
RETRIES = 4
BACKOFF = 0.5
"""Seconds before the second try; doubled each time, with jitter."""
PATIENCE = 300
"""Seconds: a catalogue that asks for a longer wait is asked again after this."""
RETRY_STATUS = (408, 429, 500, 502, 503, 504)

# Catalogues compare the middle of an acquisition, granules count by its start.
_SLACK = timedelta(hours=1)


def find_items(
    catalog: str,
    collection: str,
    grid: GeoBox,
    period: Period,
    wanted: Callable[[RawItem], bool],
) -> Iterator[Found]:
    """Find the items of a collection in a grid's lon/lat box and a period, page by page.

    What may pass (429, 5xx, timeouts, refused connections, cut bodies) is tried again, with
    backoff; ``Retry-After`` is heeded.

    Parameters
    ----------
    catalog
        URL of a STAC API with item search.
    wanted
        Tells from the bare JSON whether an item counts.

    Raises
    ------
    SourceError
        If the catalogue does not answer, or not with items. Never fewer items instead.
    """
    import pystac
    from pystac_client import Client
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError
    from pystac_client.warnings import PystacClientWarning

    failures = (APIError, ClientTypeError, PystacClientWarning, pystac.STACError, *MALFORMED)
    seen: set[str] = set()
    try:
        client = Client.open(catalog, stac_io=_stac_io())
        for box in _boxes(grid):
            search = client.search(
                collections=[collection], bbox=box, datetime=_interval(period), limit=PAGE
            )
            for raw in _fresh(search, seen):
                if considered(raw, wanted):
                    yield Found.parse(raw, _self_link(raw) or catalog)
    except failures as error:
        raise _outage(catalog, collection, error) from error


def _fresh(search: ItemSearch, seen: set[str]) -> Iterator[RawItem]:
    """The items of all pages that were not seen before, say in the other half of the box."""
    count, announced, turned = 0, None, set[str]()
    for page in search.pages_as_dicts():
        names = {str(raw.get("id")) for raw in page["features"]}
        if names <= turned:
            raise ValueError("its pages go round in circles")
        turned |= names
        count += len(page["features"])
        announced = announced or page.get("numberMatched")
        for raw in page["features"]:
            name = str(raw.get("id") or "")
            if not name or name not in seen:
                seen.add(name)
                yield raw
    if isinstance(announced, int) and count < announced:
        # Some catalogues only estimate the number, so this is no error.
        log.warning("%s announced %d items and gave %d", search.url, announced, count)


def _stac_io() -> StacApiIO:
    """What pystac-client talks through: retries, and no silence where an answer is no answer."""
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from requests.exceptions import ChunkedEncodingError
    from urllib3.util import Retry

    class Careful(StacApiIO):
        def request(self, *args: Any, **kwargs: Any) -> str:
            for _ in range(RETRIES):
                try:
                    return super().request(*args, **kwargs)
                except APIError as error:
                    # urllib3 retries up to the first byte of the body; what cuts it comes later.
                    if not isinstance(error.__context__, ChunkedEncodingError):
                        raise
            return super().request(*args, **kwargs)

        def read_json(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            content = super().read_json(*args, **kwargs)
            _require_answer(content)
            return content

    retry = Retry(
        total=RETRIES,
        backoff_factor=BACKOFF,
        backoff_jitter=BACKOFF,
        status_forcelist=RETRY_STATUS,
        allowed_methods=None,
        respect_retry_after_header=True,
        retry_after_max=PATIENCE,
    )
    return Careful(max_retries=retry, timeout=TIMEOUT)


def _require_answer(content: Any) -> None:
    """Refuse a page that pystac-client would take for the end of the list.

    Raises
    ------
    ValueError
        If the content is no catalogue and no page of items, or an empty page that says that more
        follows although fewer items exist.
    """
    if isinstance(content, dict) and content.get("type") in ("Catalog", "Collection"):
        return
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list) or not all(isinstance(one, dict) for one in features):
        raise ValueError(f"it answers with something else than items: {str(content)[:200]}")
    links = content.get("links") or []
    more = any(isinstance(link, dict) and link.get("rel") == "next" for link in links)
    if more and not features and content.get("numberMatched") != 0:
        raise ValueError("a page without items says that more follow")


def _boxes(grid: GeoBox) -> list[tuple[float, float, float, float]]:
    """West, south, east, north of the grid; two boxes where it crosses the antimeridian."""
    west, south, east, north = lonlat_bounds(grid)
    if west <= east:
        return [(west, south, east, north)]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def _interval(period: Period) -> tuple[datetime, datetime | None]:
    # Some catalogues refuse the year 9999, which stands for an open end.
    open_ended = period.end > datetime.now(UTC)
    return period.start - _SLACK, None if open_ended else period.end + _SLACK


def _self_link(raw: RawItem) -> str:
    links = raw.get("links")
    own = (
        link.get("href")
        for link in (links if isinstance(links, list) else [])
        if isinstance(link, dict) and link.get("rel") == "self"
    )
    return str(next(own, None) or "")


def _outage(catalog: str, collection: str, error: Exception) -> SourceError:
    status = getattr(error, "status_code", None)
    reason = " ".join(str(error).split())[:300]
    if status in (401, 403):
        advice = "it wants credentials: put them into ~/.netrc"
    elif status is not None and status < 500 and status not in RETRY_STATUS:
        advice = "check `catalog` and `collection` in the region file"
    else:
        advice = "nothing was changed; try again later, and check `catalog` if it stays"
    code = f"HTTP {status}: " if status else ""
    return SourceError(
        f"the catalogue {catalog} cannot be searched for {collection!r} "
        f"({code}{reason or type(error).__name__}); {advice}"
    )
