"""Certificates for hosts under test: one authority, one certificate a host."""

from __future__ import annotations

from dataclasses import dataclass

import trustme


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """What a host needs for TLS with both sides' certificates, as PEM."""

    ca: bytes
    cert: bytes
    key: bytes


class Certificates:
    """An authority that lives as long as this object; nothing of it is kept on this machine."""

    def __init__(self) -> None:
        self._ca = trustme.CA(organization_name="frazil lab")

    def issue(self, name: str, *addresses: str) -> HostCertificate:
        """A certificate for the host ``name``, its identity, also valid for ``addresses``."""
        issued = self._ca.issue_cert(name, *addresses, common_name=name)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        return HostCertificate(self._ca.cert_pem.bytes(), chain, issued.private_key_pem.bytes())
