"""Signing in to NASA Earthdata: once a process, with what the user's machine holds."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from cube.errors import GranuleError
from cube.retry import CREDENTIALS, SYSTEM_CLOCK, Clock, PassingError, judge, retrying
from cube.scene import utc

if TYPE_CHECKING:
    from earthaccess import Auth
    from earthaccess.system import System
    from requests import Session

# A token younger than this is not renewed, and a refusal is believed for as long: many granules
# that fail for one reason must not become many logins, which lock an account.
FRESH = 600.0


# Seconds before they end from which temporary credentials are not used any more.
MARGIN = 300.0


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """Temporary credentials of the data centre's bucket."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    token: str = field(repr=False)
    expires: float
    """Seconds since 1970, UTC."""

    @classmethod
    def parse(cls, answer: Mapping[str, str]) -> Self:
        """Read what the data centre answers; a ValueError or LookupError if it is another."""
        end = utc(datetime.fromisoformat(answer["expiration"])).timestamp()
        return cls(answer["accessKeyId"], answer["secretAccessKey"], answer["sessionToken"], end)


class Account:
    """One Earthdata login, shared by the threads of a process and known to no other.

    Credentials are those that earthaccess finds in the environment or in ``.netrc``; the token
    they give lives in memory only, and a source that travels to a worker does not carry it along.
    """

    def __init__(self, host: str | None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._host, self._clock = host, clock
        self._lock = threading.Lock()
        self._auth: Auth | None = None
        self._since = 0.0
        self._refused: GranuleError | None = None
        self._s3: dict[str, S3Credentials] = {}

    @property
    def _age(self) -> float:
        return self._clock.now() - self._since

    def session(self) -> Session:
        """Open a session that is signed in; to be closed by the caller.

        Raises
        ------
        GranuleError
            ``unauthorised`` if there are no credentials or they are refused; ``unavailable`` or
            ``timeout`` if the login service cannot be reached.
        """
        with self._lock:
            if self._refused is not None and self._age < FRESH:
                raise GranuleError(str(self._refused), kind=self._refused.kind)
            if self._auth is None:
                self._auth = self._sign_in()
            return self._auth.get_session()

    def renew(self, session: Session) -> bool:
        """Forget the token of a session that is not accepted any more.

        Returns
        -------
        bool
            Whether another session may do better; not if the token is too fresh to be expired.
        """
        stale = session.headers.get("Authorization")
        with self._lock:
            if self._auth is None or _bearer(self._auth) != stale:
                return True  # another thread was first
            if self._age < FRESH:
                return False
            self._auth = None
            return True

    def s3_credentials(self, endpoint: str) -> S3Credentials:
        """Temporary credentials for direct access, asked for once in their lifetime.

        Parameters
        ----------
        endpoint
            URL at which the data centre gives them out.

        Raises
        ------
        GranuleError
            ``unauthorised`` if it refuses; ``unavailable`` or ``timeout`` if it cannot be reached;
            else as `session`.
        """
        with self.session() as session:
            try:
                return self._s3_of(endpoint)
            except GranuleError as error:
                if error.kind != "unauthorised" or not self.renew(session):
                    raise
        with self.session():
            return self._s3_of(endpoint)

    def _s3_of(self, endpoint: str) -> S3Credentials:
        with self._lock:
            known = self._s3.get(endpoint)
            if known is None or known.expires - self._clock.now() < MARGIN:
                known = self._s3[endpoint] = self._ask_s3(endpoint)
            return known

    def _ask_s3(self, endpoint: str) -> S3Credentials:
        from requests import RequestException

        host = urlsplit(endpoint).hostname or endpoint
        self._auth = self._auth or self._sign_in()
        try:
            answer = self._auth.get_s3_credentials(endpoint=endpoint)
            if not answer:
                raise GranuleError(
                    f"{host} gives no credentials for direct access to S3; {CREDENTIALS}. "
                    'Or fetch over HTTPS: access = "https"',
                    kind="unauthorised",
                )
            return S3Credentials.parse(answer)
        except RequestException as error:
            verdict = judge(error, host)
            raise GranuleError(str(verdict), kind=verdict.kind) from None
        except (LookupError, TypeError, ValueError):
            raise GranuleError(
                f"{host} answers with something else than credentials for S3; the next run asks "
                "again",
                kind="unavailable",
            ) from None

    def _sign_in(self) -> Auth:
        name = self._system().edl_hostname
        try:
            auth = retrying(3, self._clock, f"login at {name}")(self._try)
        except PassingError as error:
            raise GranuleError(
                f"{error}, so nobody is signed in to Earthdata; this may pass, the next run tries "
                "again",
                kind=error.kind,
            ) from None
        except GranuleError as error:
            self._since, self._refused = self._clock.now(), error
            raise
        self._since, self._refused = self._clock.now(), None
        return auth

    def _try(self) -> Auth:
        from earthaccess import Auth
        from earthaccess.exceptions import LoginAttemptFailure, LoginStrategyUnavailable
        from requests import RequestException

        system = self._system()
        for strategy in ("environment", "netrc"):
            auth = Auth()
            try:
                auth.login(strategy=strategy, system=system)
            except LoginStrategyUnavailable:
                continue
            except LoginAttemptFailure:
                # Its message is the server's page, whatever that shows.
                raise GranuleError(
                    f"{system.edl_hostname} did not accept the credentials of the {strategy}, or "
                    f"is out of order; {CREDENTIALS}",
                    kind="unauthorised",
                ) from None
            except RequestException as error:
                raise judge(error, system.edl_hostname) from None
            except (LookupError, TypeError, ValueError):
                raise PassingError(f"{system.edl_hostname} gave no token") from None
            return auth
        raise GranuleError(
            f"there are no credentials for {system.edl_hostname}; {CREDENTIALS}",
            kind="unauthorised",
        )

    def _system(self) -> System:
        from earthaccess.system import PROD, EDLHostname, System

        if self._host is None:
            return PROD
        host = EDLHostname(self._host)
        return System(PROD.cmr_base_url, PROD.status_url, PROD.status_api_url, host)


def _bearer(auth: Auth) -> str:
    return f"Bearer {auth.token['access_token']}" if auth.token else ""


@cache
def account(host: str | None, clock: Clock = SYSTEM_CLOCK) -> Account:
    """The process's login at a host; None for Earthdata itself."""
    return Account(host, clock)
