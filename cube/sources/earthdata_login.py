"""Signing in to NASA Earthdata: once a process, with what the user's machine holds."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

from cube.errors import GranuleError
from cube.retry import CREDENTIALS, SYSTEM_CLOCK, Clock, PassingError, judge, retrying

if TYPE_CHECKING:
    from earthaccess import Auth
    from earthaccess.system import System
    from requests import Session

# A token younger than this is not renewed, and a refusal is believed for as long: many granules
# that fail for one reason must not become many logins, which lock an account.
FRESH = 600.0


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
