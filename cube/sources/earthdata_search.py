"""Asking NASA's Common Metadata Repository (CMR) for granules, whole answers or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cube.errors import GranuleError, SourceError
from cube.fetch import TIMEOUT
from cube.retry import (
    PASSING_STATUS,
    SYSTEM_CLOCK,
    Clock,
    PassingError,
    judge,
    retry_after,
    retrying,
)

if TYPE_CHECKING:
    from earthaccess import DataGranule
    from odc.geo.geobox import GeoBox
    from requests import Session

    from cube.sources.base import Period

# A tile's rectangle is that of its corners; its edges bulge past them by a few hundred metres.
MARGIN = 0.01
"""Degrees."""
_OPEN_END = 9000
"""A period that ends after this year has no end."""


@dataclass(frozen=True, slots=True)
class Query:
    """One collection, one box, one period."""

    short_name: str
    version: str
    box: tuple[float, float, float, float]
    """West, south, east, north in degrees; west > east across the antimeridian."""
    period: Period

    @property
    def parameters(self) -> Mapping[str, Any]:
        """As earthaccess takes them."""
        end = self.period.end
        return {
            "short_name": self.short_name,
            "version": self.version,
            "bounding_box": self.box,
            "temporal": (self.period.start, None if end.year > _OPEN_END else end),
        }


def box_of(grid: GeoBox) -> tuple[float, float, float, float]:
    """West, south, east, north of a grid in degrees, a margin wider."""
    from cube.grid import lonlat_bounds

    west, south, east, north = lonlat_bounds(grid)
    south, north = max(south - MARGIN, -90.0), min(north + MARGIN, 90.0)
    return max(west - MARGIN, -180.0), south, min(east + MARGIN, 180.0), north


def ask(
    query: Query, catalogue: str | None, *, attempts: int = 5, clock: Clock = SYSTEM_CLOCK
) -> list[DataGranule]:
    """Find the records of all granules of a query.

    The search is public: nobody is signed in, so expired credentials do not stop a plan.

    Parameters
    ----------
    query
        What is looked for.
    catalogue
        URL that the search is at; None for NASA's.
    attempts, clock
        As for `cube.fetch.fetch`.

    Returns
    -------
    list of earthaccess.DataGranule
        UMM-G records. Empty only if the catalogue says that there are none.

    Raises
    ------
    SourceError
        Naming the catalogue, if it cannot be reached, refuses, or its answer is not whole.
    """
    from cmr import CMR_OPS

    where = (catalogue or CMR_OPS).rstrip("/") + "/"
    host = urlsplit(where).netloc
    try:
        return retrying(attempts, clock, f"search at {host}")(_ask, query, where, host, clock)
    except (PassingError, GranuleError) as error:
        raise SourceError(
            f"the catalogue {where} cannot be searched for {query.short_name} "
            f"{query.version}: {error}. What the cube holds stays as it is; the next run asks "
            "again",
            kind=error.kind,
        ) from None


def _ask(query: Query, where: str, host: str, clock: Clock) -> list[DataGranule]:
    from earthaccess import DataGranules
    from requests import RequestException

    search = DataGranules().parameters(**query.parameters)
    search.mode(where)
    with _patient_session() as search.session:
        try:
            hits = search.hits()
            records = search.get(hits) if hits else []
            distinct = {record["meta"]["concept-id"] for record in records}
        except RequestException as error:
            raise _no_answer(error, host) from None
        except RuntimeError as error:
            raise _http_error(error, host, clock) from None
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise PassingError(f"its answer is malformed ({error!r})", "malformed") from error
    if len(distinct) < hits:
        # The client stops at the first empty page, and takes a page that comes twice for two.
        reason = f"it knows {hits} granules, but showed only {len(distinct)} of them"
        raise PassingError(reason, "incomplete")
    return records


def _no_answer(error: Exception, host: str) -> PassingError | GranuleError:
    from requests import JSONDecodeError, RequestException

    if isinstance(error, JSONDecodeError):
        return PassingError("its answer is no JSON", "malformed")
    assert isinstance(error, RequestException)
    return judge(error, host)


def _http_error(error: RuntimeError, host: str, clock: Clock) -> PassingError | GranuleError:
    """Earthaccess wraps HTTP errors; the response is that of the cause."""
    response = getattr(error.__cause__, "response", None)
    if response is None:
        return GranuleError(" ".join(str(error).split())[:300], kind="refused")
    told = " ".join(response.text.split())[:300]
    reason = f"{host} answers {response.status_code} {response.reason}: {told}"
    if response.status_code not in PASSING_STATUS:
        return GranuleError(reason, kind="refused")
    return PassingError(reason, wait=retry_after(response.headers.get("Retry-After"), clock))


def _patient_session() -> Session:
    """A session with time-outs, which earthaccess does not set: a stalled search would hang."""
    from requests import Session
    from requests.adapters import HTTPAdapter

    class Timed(HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            return super().send(request, *args, **{**options, "timeout": TIMEOUT})

    session = Session()
    session.mount("https://", Timed())
    session.mount("http://", Timed())
    return session
