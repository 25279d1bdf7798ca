"""A small authority for hosts that have none: ``frazil pki init`` and ``frazil pki issue``.

Every host gets a certificate that is good for both sides of a connection. Its common name is
the identity that ``[[replica.allow]]`` names; its alternative names are those under which peers
reach it. Nothing that is there is ever overwritten.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from control.certificates import CertificateExpired, read_certificate, read_pem
from dm_tables.errors import Corrupt, Denied, Exists, NotFound, Usage

DEFAULT_DIRECTORY = Path("/etc/frazil/pki")
AUTHORITY_DAYS = 3650
HOST_DAYS = 825
BACKDATED = timedelta(hours=1)
"""Hosts whose clocks differ a little trust a new certificate at once."""

_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
LONGEST_COMMON_NAME = 64


class AuthorityExists(Exists):
    """There is an authority in that directory."""


class AuthorityMissing(NotFound):
    """There is no authority in that directory."""


class AuthorityDamaged(Corrupt):
    """The authority's key cannot be read, or is not its certificate's."""


class AlreadyIssued(Exists):
    """The directory for the host's files is there."""


class BadHostName(Usage):
    """A name that no certificate can carry."""


class CannotWrite(Denied):
    """A file or directory cannot be made."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A host's three files, ready to be copied to its /etc/frazil."""

    names: tuple[str, ...]
    ca: Path
    cert: Path
    key: Path
    expires: datetime


def init(
    directory: Path = DEFAULT_DIRECTORY, name: str = "frazil", days: int = AUTHORITY_DAYS
) -> Path:
    """Make an authority: ``ca.pem`` for everybody, ``ca.key`` for nobody else.

    :return: the authority's certificate.
    :raises AuthorityExists: there is one; it stays as it is.
    """
    certificate_path, key_path = directory / "ca.pem", directory / "ca.key"
    for path in (certificate_path, key_path):
        if path.exists():
            raise AuthorityExists(
                f"{path} is there already",
                "certificates of a second authority would not be trusted; give another --directory",
            )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    certificate = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _make_directory(directory, 0o700)
    _write(key_path, _key_pem(key), 0o600)
    _write(certificate_path, certificate.public_bytes(Encoding.PEM), 0o644)
    return certificate_path


def issue(
    host: str,
    others: Sequence[str] = (),
    *,
    directory: Path = DEFAULT_DIRECTORY,
    output: Path | None = None,
    days: int = HOST_DAYS,
) -> Issued:
    """Make a host's certificate and key.

    :param host: its identity, and a name under which peers reach it.
    :param others: further names and addresses of it.
    :param output: a directory to be made; by default the host's name, in ``directory``.
    :raises AuthorityMissing: ``init`` comes first.
    :raises AlreadyIssued: ``output`` is there.
    """
    names = [_checked(name) for name in dict.fromkeys((host, *others))]
    if len(host) > LONGEST_COMMON_NAME:
        raise BadHostName(
            f"{host} is longer than the {LONGEST_COMMON_NAME} letters of a common name"
        )
    authority, authority_key = _authority(directory)
    place = output or directory / host
    if place.exists():
        raise AlreadyIssued(f"{place} is there already", "move it away, or give another --output")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(names, key.public_key(), authority, authority_key, days)
    _make_directory(place, 0o700)
    issued = Issued(
        tuple(names),
        place / "ca.pem",
        place / "host.pem",
        place / "host.key",
        certificate.not_valid_after_utc,
    )
    _write(issued.key, _key_pem(key), 0o600)
    _write(issued.cert, certificate.public_bytes(Encoding.PEM), 0o644)
    _write(issued.ca, authority.public_bytes(Encoding.PEM), 0o644)
    return issued


def _sign(
    names: Sequence[str],
    key: ec.EllipticCurvePublicKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    days: int,
) -> x509.Certificate:
    """A certificate for both sides of a connection; the first name is the common one."""
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    reached_by = x509.SubjectAlternativeName([_alternative(name) for name in names])
    return (
        _builder(_subject(names[0]), authority.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(reached_by, critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if not (directory / "ca.key").exists():
        raise AuthorityMissing(f"there is no authority in {directory}", "frazil pki init")
    certificate = read_certificate(directory / "ca.pem")
    try:
        key = load_pem_private_key(read_pem(directory / "ca.key"), password=None)
    except (ValueError, TypeError) as error:
        raise AuthorityDamaged(f"{directory / 'ca.key'} holds no private key in PEM") from error
    if (
        not isinstance(key, ec.EllipticCurvePrivateKey)
        or key.public_key() != certificate.public_key()
    ):
        raise AuthorityDamaged(
            f"{directory / 'ca.key'} is not the key of {directory / 'ca.pem'}",
            "put both files of one frazil pki init there",
        )
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise CertificateExpired(
            f"the authority in {directory} is valid no longer", "make another, in another directory"
        )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    if days < 1:
        raise Usage(f"{days} days are no time", "give at least 1")
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _checked(name: str) -> str:
    try:
        return str(ip_address(name))
    except ValueError:
        if not _NAME.fullmatch(name) or len(name) > 253:
            raise BadHostName(f'"{name}" is neither a host name nor an address') from None
        return name


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _make_directory(directory: Path, mode: int) -> None:
    try:
        directory.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"{directory} cannot be made: {error.strerror}") from error


def _write(path: Path, content: bytes, mode: int) -> None:
    """A new file, never an old one; with its mode from its first byte on."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        os.fsync(descriptor)
