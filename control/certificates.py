"""Certificates as files: what is in them, and whether a host's three belong together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from control.wire.channel import TlsFiles, TlsUnusable


class CertificatesMismatch(TlsUnusable):
    """Certificate, key and authority are not of one piece."""


class CertificateExpired(TlsUnusable):
    """A certificate is valid no longer, or not yet."""


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """What a host's certificate says: its names, the common name first, and its last day."""

    names: tuple[str, ...]
    expires: datetime
    authority_expires: datetime


def check_certificates(tls: TlsFiles, now: datetime | None = None) -> HostIdentity:
    """See that [tls] can work, before a peer fails with a riddle.

    :raises TlsUnusable: a file cannot be read, or is not PEM of its kind.
    :raises CertificatesMismatch: the key is another's, or another authority signed.
    :raises CertificateExpired: by this host's clock.
    """
    authorities, chain = read_certificates(tls.ca), read_certificates(tls.cert)
    certificate = chain[0]
    key = read_public_key(tls.key)
    if _bytes(key) != _bytes(certificate.public_key()):
        raise CertificatesMismatch(
            f"{tls.key} is not the key of the certificate {tls.cert}",
            "put both files of one issue there: frazil pki issue writes them side by side",
        )
    signers = [one for one in (*authorities, *chain[1:]) if _signed(certificate, one)]
    if not signers:
        raise CertificatesMismatch(
            f"the authority in {tls.ca} did not sign {tls.cert}",
            "have it issued by the authority that the peers trust, or put that one's ca.pem there",
        )
    names = names_of(certificate)
    if not names:
        raise CertificatesMismatch(f"{tls.cert} has no name", "give it a common name")
    for path, one in ((tls.cert, certificate), (tls.ca, signers[0])):
        _check_time(path, one, now or datetime.now(UTC))
    return HostIdentity(names, _until(certificate), _until(signers[0]))


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The common name, then the DNS names and addresses that it is valid for."""
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = [str(one.value) for one in common]
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return tuple(names)
    names += found.value.get_values_for_type(x509.DNSName)
    names += [str(one) for one in found.value.get_values_for_type(x509.IPAddress)]
    return tuple(dict.fromkeys(names))


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate in a PEM file. :raises TlsUnusable: there is none."""
    return read_certificates(path)[0]


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Every certificate in a PEM file. :raises TlsUnusable: there is none."""
    try:
        return x509.load_pem_x509_certificates(read_pem(path))
    except ValueError as error:
        raise TlsUnusable(f"{path} holds no certificate in PEM") from error


def read_public_key(path: Path) -> PublicKeyTypes:
    """The public half of a private key in PEM. :raises TlsUnusable: there is none."""
    try:
        return load_pem_private_key(read_pem(path), password=None).public_key()
    except TypeError as error:
        raise TlsUnusable(
            f"the key {path} has a password", "frazild cannot be asked: take it off"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsUnusable(f"{path} holds no private key in PEM") from error


def read_pem(path: Path) -> bytes:
    """A file's bytes. :raises TlsUnusable: it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsUnusable(
            f"{path} cannot be read: {error.strerror}",
            "frazil pki issue makes ca.pem, host.pem and host.key; [tls] names where they are",
        ) from error


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _check_time(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    if now > _until(certificate):
        raise CertificateExpired(
            f"{path} was valid until {_until(certificate):%Y-%m-%d}", "issue a new one"
        )
    since = certificate.not_valid_before_utc
    if now < since:
        raise CertificateExpired(
            f"{path} is valid from {since:%Y-%m-%d %H:%M} UTC on, and here it is "
            f"{now:%Y-%m-%d %H:%M}",
            "set this host's clock",
        )


def _until(certificate: x509.Certificate) -> datetime:
    return certificate.not_valid_after_utc


def _bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
