"""host:port, in text and apart."""

from __future__ import annotations

import pytest

from control.addresses import Address, NotAnAddress, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("10.0.0.2:7420", "10.0.0.2", 7420, False),
        ("replica.example:1", "replica.example", 1, False),
        ("localhost:0", "localhost", 0, True),
        ("127.8.0.1:65535", "127.8.0.1", 65535, True),
        ("[::1]:7420", "::1", 7420, True),
        ("[fe80::1%eth0]:7420", "fe80::1%eth0", 7420, False),
        ("0.0.0.0:7420", "0.0.0.0", 7420, False),
        ("[::]:7420", "::", 7420, False),
        ("127.0.0.1.example:1", "127.0.0.1.example", 1, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_address(text)
    assert address == Address(host, port)
    assert str(address) == text
    assert address.is_loopback is loopback


@pytest.mark.parametrize(
    "text",
    ["", "host", ":1", "host:", "host:65536", "host:-1", "::1:7420", "[host]:1", "[::1]", "a/b:1"],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(NotAnAddress) as caught:
        parse_address(text)
    assert caught.value.text == text
