"""The small authority: what it issues is good for TLS on both sides, and nothing is overwritten."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from control import pki
from control.certificates import (
    CertificateExpired,
    CertificatesMismatch,
    check_certificates,
)
from control.cli import main
from control.wire.channel import TlsUnusable
from dm_tables.errors import Kind


@dataclass(frozen=True)
class Tls:
    """Three files."""

    ca: Path
    cert: Path
    key: Path


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """An authority's directory."""
    pki.init(tmp_path / "pki")
    return tmp_path / "pki"


def tls_of(issued: pki.Issued) -> Tls:
    return Tls(issued.ca, issued.cert, issued.key)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def handshake(server: Tls, client: Tls, name: str) -> str:
    """Both sides check the other; the client's common name as the server sees it."""
    at_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server.ca))
    at_server.load_cert_chain(server.cert, server.key)
    at_server.verify_mode = ssl.CERT_REQUIRED
    at_client = ssl.create_default_context(cafile=str(client.ca))
    at_client.load_cert_chain(client.cert, client.key)
    one, other = socket.socketpair()
    seen: list[str] = []

    def serve() -> None:
        try:
            with at_server.wrap_socket(one, server_side=True) as channel:
                subject = dict(pair[0] for pair in channel.getpeercert()["subject"])  # type: ignore[index,misc]
                seen.append(str(subject["commonName"]))
                channel.sendall(b"x")
        except ssl.SSLError:
            one.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with at_client.wrap_socket(other, server_hostname=name) as channel:
            channel.recv(1)
    finally:
        thread.join(10)
    return seen[0]


def test_what_is_issued_is_good_for_both_sides(authority: Path) -> None:
    source = tls_of(pki.issue("source", directory=authority))
    replica = tls_of(pki.issue("replica", ["10.0.0.7", "b.example"], directory=authority))
    for name in ("replica", "10.0.0.7", "b.example"):
        assert handshake(replica, source, name) == "source"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(replica, source, "another")


def test_a_stranger_is_refused(authority: Path, tmp_path: Path) -> None:
    pki.init(tmp_path / "other", "other")
    stranger = tls_of(pki.issue("source", directory=tmp_path / "other"))
    replica = tls_of(pki.issue("replica", directory=authority))
    trusting = Tls(replica.ca, stranger.cert, stranger.key)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(replica, trusting, "replica")


def test_names_and_dates_are_known_again(authority: Path) -> None:
    issued = pki.issue("source", ["10.0.0.7"], directory=authority, days=30)
    identity = check_certificates(tls_of(issued))
    assert identity.names == ("source", "10.0.0.7")
    assert timedelta(29) < identity.expires - datetime.now(UTC) < timedelta(31)


def test_keys_are_for_root_alone(authority: Path) -> None:
    issued = pki.issue("source", directory=authority)
    assert mode(authority) == mode(issued.key.parent) == 0o700
    assert mode(authority / "ca.key") == mode(issued.key) == 0o600
    assert mode(authority / "ca.pem") == mode(issued.cert) == 0o644


def test_nothing_is_overwritten(authority: Path) -> None:
    before = {path: path.read_bytes() for path in authority.iterdir()}
    with pytest.raises(pki.AuthorityExists):
        pki.init(authority)
    pki.issue("source", directory=authority)
    with pytest.raises(pki.AlreadyIssued):
        pki.issue("source", directory=authority)
    (authority / "ca.pem").unlink()
    with pytest.raises(pki.AuthorityExists):
        pki.init(authority)
    assert (authority / "ca.key").read_bytes() == before[authority / "ca.key"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "-a", "a..b", "x" * 65 + ".example", "é"])
def test_names_that_no_certificate_can_carry(authority: Path, name: str) -> None:
    with pytest.raises(pki.BadHostName):
        pki.issue(name, directory=authority)


def test_without_an_authority(tmp_path: Path) -> None:
    with pytest.raises(pki.AuthorityMissing):
        pki.issue("source", directory=tmp_path)


def test_a_key_of_another_authority(authority: Path, tmp_path: Path) -> None:
    pki.init(tmp_path / "other")
    (authority / "ca.key").write_bytes((tmp_path / "other/ca.key").read_bytes())
    with pytest.raises(pki.AuthorityDamaged):
        pki.issue("source", directory=authority)


def test_files_that_do_not_belong_together(authority: Path, tmp_path: Path) -> None:
    one = pki.issue("one", directory=authority)
    two = pki.issue("two", directory=authority)
    pki.init(tmp_path / "other")
    with pytest.raises(CertificatesMismatch, match="is not the key of"):
        check_certificates(Tls(one.ca, one.cert, two.key))
    with pytest.raises(CertificatesMismatch, match="did not sign"):
        check_certificates(Tls(tmp_path / "other/ca.pem", one.cert, one.key))
    with pytest.raises(TlsUnusable, match="holds no certificate"):
        check_certificates(Tls(one.ca, one.key, one.key))
    with pytest.raises(TlsUnusable, match="holds no private key"):
        check_certificates(Tls(one.ca, one.cert, one.cert))
    with pytest.raises(TlsUnusable, match="cannot be read"):
        check_certificates(Tls(one.ca, tmp_path / "missing", one.key))


def test_dates(authority: Path) -> None:
    issued = pki.issue("one", directory=authority, days=10)
    now = datetime.now(UTC)
    check_certificates(tls_of(issued), now + timedelta(9))
    with pytest.raises(CertificateExpired, match="was valid until"):
        check_certificates(tls_of(issued), now + timedelta(11))
    with pytest.raises(CertificateExpired, match="is valid from"):
        check_certificates(tls_of(issued), now - timedelta(1))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = f"{tmp_path}/pki"
    assert main(["pki", "init", "--directory", folder]) == Kind.OK
    assert main(["pki", "issue", "b1", "10.0.0.7", "--directory", folder, "--json"]) == Kind.OK
    assert f'"key": "{folder}/b1/host.key"' in capsys.readouterr().out
    assert main(["pki", "issue", "b1", "--directory", folder]) == Kind.EXISTS
    assert main(["pki", "issue", "b2", "--directory", f"{tmp_path}/none"]) == Kind.NOT_FOUND
    assert "frazil pki init" in capsys.readouterr().err
