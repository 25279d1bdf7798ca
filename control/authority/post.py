"""One HTTP request to the first endpoint that answers."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from control.authority.errors import AuthorityDenied, AuthorityUnavailable
from dm_tables.errors import FrazilError

MOST_BYTES = 1 << 20
"""An answer is a few hundred bytes long."""

DENIED = {7, 16}
"""gRPC's PERMISSION_DENIED and UNAUTHENTICATED."""

NOT_FOUND = 5
"""gRPC's."""


class Post:
    """Sends JSON, and gives JSON back.

    :param endpoints: URLs without a path. The one that answered last is asked first.
    :param ca: who signed the endpoints' certificates; None: any authority that the system trusts.
    :param timeout: seconds for each step of a request to one endpoint.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        timeout: float,
        *,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self._endpoints = list(endpoints)
        self._timeout = timeout
        self._ca, self._cert, self._key = ca, cert, key

    def __call__(self, path: str, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to a message.

        :raises AuthorityUnavailable: no endpoint answered; the request may have been carried out.
        :raises AuthorityDenied: one refused this host, or cannot be trusted, and none answered.
        """
        failures: list[FrazilError] = []
        for endpoint in list(self._endpoints):
            try:
                answer = self._ask(endpoint, path, message)
            except (AuthorityUnavailable, AuthorityDenied) as error:
                failures.append(error)
                continue
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)
            return answer
        denied = [error for error in failures if isinstance(error, AuthorityDenied)]
        if denied:
            raise denied[0]
        told = "; ".join(error.what for error in failures)
        raise AuthorityUnavailable(f"the authority does not answer: {told}", "it is tried again")

    def _ask(self, endpoint: str, path: str, message: Mapping[str, Any]) -> Mapping[str, Any]:
        where = urlsplit(endpoint)
        body = json.dumps(message).encode()
        connection = self._connection(where.scheme, where.hostname or "", where.port)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            # One line a message: a stream is not waited for to its end.
            line = reply.readline(MOST_BYTES)
        except ssl.SSLCertVerificationError as error:
            raise AuthorityDenied(
                f"{endpoint} shows a certificate that is not trusted: {error.verify_message}",
                "see ca in [authority]",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, ssl.SSLError) and about_certificate(error.reason or ""):
                raise AuthorityDenied(
                    f"{endpoint} does not accept this host's certificate: {error.reason}",
                    "see cert and key in [authority]",
                ) from None
            raise AuthorityUnavailable(f"{endpoint}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        return _meant(endpoint, reply.status, line)

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._trust())

    def _trust(self) -> ssl.SSLContext:
        """Made anew each time: a certificate that was renewed counts at once."""
        try:
            context = ssl.create_default_context(cafile=self._ca)
            if self._cert is not None:
                context.load_cert_chain(self._cert, self._key)
        except OSError as error:
            raise AuthorityDenied(
                f"ca, cert or key of [authority] cannot be used: {error}", "see their paths"
            ) from None
        return context


def about_certificate(alert: str) -> bool:
    """Whether a TLS alert says that ours is missing, or is not good enough."""
    return "ALERT" in alert and ("CERTIFICATE" in alert or "UNKNOWN_CA" in alert)


def _meant(endpoint: str, status: int, line: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise AuthorityUnavailable(
            f"{endpoint} answers {status} with what is not etcd's: {error}"
        ) from None
    failure = found.get("error")
    if failure is None and status == http.client.OK:
        return found
    # A stream's failure is an object, a call's is text with the code beside it.
    details: Mapping[str, Any] = failure if isinstance(failure, dict) else found
    told = details.get("message") or failure or f"HTTP {status}"
    code = details.get("grpc_code", details.get("code"))
    if status in (401, 403) or code in DENIED:
        raise AuthorityDenied(f"{endpoint} refuses this host: {told}", "see the rights in etcd")
    if code == NOT_FOUND and "lease not found" in str(told):
        return {}  # It has ended: as if nothing had been there to do.
    raise AuthorityUnavailable(f"{endpoint}: {told}")
