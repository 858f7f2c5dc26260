"""Who may send over MLLP: networks, certificates, and how they are written."""

from __future__ import annotations

import pytest

from connectors.hl7.mllp.peers import Certificate, Peer, Senders, plain_host

DIGITS = "ab" * 32


def test_an_address_is_host_and_port() -> None:
    """IPv6 stands in brackets, so that the port can be told from it."""
    assert Peer("10.1.2.3", 5000).address == "10.1.2.3:5000"
    assert Peer("2001:db8::1", 5000).address == "[2001:db8::1]:5000"


@pytest.mark.parametrize(
    ("host", "plain"),
    [("::ffff:10.1.2.3", "10.1.2.3"), ("10.1.2.3", "10.1.2.3"), ("::1", "::1"), ("unknown", "unknown")],
)
def test_an_ipv4_address_has_one_spelling(host: str, plain: str) -> None:
    """A listener on IPv6 sees IPv4 senders mapped; networks and logs know them as IPv4."""
    assert plain_host(host) == plain


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("10.1.0.0", True),
        ("10.1.255.255", True),
        ("10.0.255.255", False),
        ("10.2.0.0", False),
        ("10.9.9.9", True),
        ("10.9.9.10", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("unknown", False),
    ],
)
def test_a_network_ends_where_it_ends(host: str, allowed: bool) -> None:
    """Addresses just inside are allowed, just outside not; a single address is a network of one."""
    senders = Senders.of(["10.1.0.0/16", " 10.9.9.9 ", "2001:db8::/32"])
    assert senders.allow_address(host) is allowed


def test_an_empty_list_allows_everybody() -> None:
    """Without networks and certificates nobody is refused."""
    assert Senders().allow_address("unknown")
    assert Senders().allow_certificate(Certificate())


@pytest.mark.parametrize("network", ["10.1.0.1/16", "10.1", "ris.hospital", "", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(network: str) -> None:
    """A network with host bits set, or a name, is an error that says how to write it."""
    with pytest.raises(ValueError, match="write for example"):
        Senders.of([network])


@pytest.mark.parametrize(
    ("certificate", "allowed"),
    [
        (Certificate("RIS", (), ""), True),
        (Certificate("ris", (), ""), False),
        (Certificate("", ("RIS.example",), ""), True),
        (Certificate("", ("x.ris.example",), ""), False),
        (Certificate("", (), DIGITS), True),
        (Certificate(DIGITS, (DIGITS,), "cd" * 32), False),
        (Certificate(), False),
    ],
)
def test_a_certificate_is_known_by_name_or_by_fingerprint(certificate: Certificate, allowed: bool) -> None:
    """A CN exactly, a DNS name in any case, a fingerprint only as the fingerprint."""
    colons = ":".join(DIGITS[n : n + 2] for n in range(0, 64, 2)).upper()
    assert Senders.of(certificates=[" RIS ", "ris.example", colons]).allow_certificate(certificate) is allowed


def test_an_empty_certificate_entry_is_refused() -> None:
    """It would let in whoever has no name."""
    with pytest.raises(ValueError, match="empty entry"):
        Senders.of(certificates=["RIS", " "])
    assert not Senders.of(certificates=["RIS"]).allow_certificate(Certificate())
