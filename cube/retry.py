"""Failures over HTTP: what may pass is tried again after a while, what cannot is explained."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from cube.errors import GranuleError

if TYPE_CHECKING:
    from requests import RequestException
    from tenacity import RetryCallState, Retrying

log = logging.getLogger("thermocube.fetch")

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds: the first wait is up to the one, doubled each time up to the other."""
PATIENCE = 300.0
"""Seconds; a server that asks for more (``Retry-After``) is left to the next run."""

CREDENTIALS = (
    "check the credentials: they come from the environment (for Earthdata EARTHDATA_TOKEN, or "
    "EARTHDATA_USERNAME and EARTHDATA_PASSWORD) or from ~/.netrc (or the file named by NETRC)"
)

PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Clock:
    """How to wait, and what time it is; tests bring their own."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    """Seconds since 1970, UTC."""


SYSTEM_CLOCK = Clock()


class PassingError(Exception):
    """Something went wrong that may be right the next time. Never leaves this package."""

    def __init__(self, reason: str, kind: str = "unavailable", wait: float = 0.0) -> None:
        super().__init__(reason)
        self.kind = kind
        self.wait = wait
        """Seconds that the server asks for."""


def retrying(attempts: int, clock: Clock, what: str) -> Retrying:
    """Build the policy: exponential backoff with full jitter, ``Retry-After`` honoured.

    Parameters
    ----------
    attempts
        Tries in all.
    clock
        Waits.
    what
        For the log; without secrets.

    Returns
    -------
    tenacity.Retrying
        To be called with a function; the last `PassingError` gets through.
    """
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt
    from tenacity.wait import wait_random_exponential

    jitter = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)
    enough = stop_after_attempt(attempts)

    def wait(state: RetryCallState) -> float:
        asked = _failure(state).wait
        # The jitter on top keeps many workers from coming back in the same second.
        return asked + jitter(state)

    def stop(state: RetryCallState) -> bool:
        return enough(state) or _failure(state).wait > PATIENCE

    def tell(state: RetryCallState) -> None:
        log.info(
            "%s: %s; attempt %d of %d follows in %.1f s",
            what, _failure(state), state.attempt_number + 1, attempts, state.upcoming_sleep,
        )  # fmt: skip

    return Retrying(
        sleep=clock.sleep,
        stop=stop,
        wait=wait,
        retry=retry_if_exception_type(PassingError),
        before_sleep=tell,
        reraise=True,
    )


def _failure(state: RetryCallState) -> PassingError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, PassingError)  # nothing else is retried
    return error


def retry_after(value: str | None, clock: Clock) -> float:
    """Seconds to wait by a ``Retry-After`` header (a number or an HTTP date); 0 if there is none.

    References
    ----------
    RFC 9110, section 10.2.3.
    """
    if not value:
        return 0.0
    if re.fullmatch(r"\s*\d+\s*", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - clock.now())
    except ValueError:
        return 0.0


def judge(error: RequestException, who: str) -> PassingError | GranuleError:
    """Tell what a failed HTTP exchange means, in words that hold no URL.

    The messages of requests and urllib3 show URLs with their queries, where signatures stand, so
    none of their text is taken over.

    Parameters
    ----------
    error
        From requests.
    who
        Host, for messages.

    Returns
    -------
    PassingError or GranuleError
        To be raised ``from None``; GranuleError (``refused``) if trying again cannot help.
    """
    from requests import exceptions

    if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return GranuleError(
            f"{who} shows a certificate that nobody vouches for; if a proxy on the way signs with "
            "its own, name its certificate in REQUESTS_CA_BUNDLE",
            kind="refused",
        )
    wrong = (exceptions.InvalidURL, exceptions.InvalidSchema, exceptions.MissingSchema)
    if isinstance(error, (*wrong, exceptions.TooManyRedirects, exceptions.InvalidHeader)):
        return GranuleError(
            f"{who}: the address, or where it leads, cannot be fetched ({type(error).__name__})",
            kind="refused",
        )
    # A stall while the body is read comes as a ConnectionError.
    if isinstance(error, exceptions.Timeout) or "Read timed out" in str(error):
        return PassingError(f"{who} did not answer in time", "timeout")
    if isinstance(error, exceptions.ChunkedEncodingError | exceptions.ContentDecodingError):
        return PassingError(f"{who} broke off in the middle of the body", "truncated")
    return PassingError(f"the connection to {who} failed ({type(error).__name__})")


def refusal(label: str, status: int) -> GranuleError:
    """Say what an HTTP status means that trying again cannot change.

    Parameters
    ----------
    label
        The URL without its query.
    status
        400 and above, none of `PASSING_STATUS`.

    Returns
    -------
    GranuleError
        ``unauthorised``, ``forbidden``, ``not_found`` or ``refused``.
    """
    if status in (401, 403):
        reason = "does not know who asks" if status == 401 else "does not let this user in"
        eula = "" if status == 401 else "; at Earthdata, has the user accepted the licence (EULA)?"
        kind = "unauthorised" if status == 401 else "forbidden"
        return GranuleError(
            f"{label}: the server {reason} ({status}); {CREDENTIALS}{eula}", kind=kind
        )
    if status in (404, 410):
        return GranuleError(
            f"{label}: there is no such file ({status}), although the catalogue names it; the next "
            "run looks again. If it stays so, the catalogue is out of date",
            kind="not_found",
        )
    return GranuleError(f"{label}: the server refuses ({status})", kind="refused")
