"""Where a process listens: names of interfaces, addresses, ranges of ports."""

from __future__ import annotations

import pytest

from scichain_wf.errors import ConfigError
from scichain_wf.transport.interface import address_of, port_range


def test_an_interface_has_its_address_and_an_address_is_itself() -> None:
    assert address_of("lo") == "127.0.0.1"
    assert address_of("10.1.2.3") == "10.1.2.3"
    assert address_of("::1") == "::1"


@pytest.mark.parametrize("name", ["", "no-such-thing", "l" * 16, "é" * 8, "a\0b", "eth0; rm -rf", "300.1.1.1"])
def test_what_is_no_interface_is_named_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is neither an address nor an interface .* its interfaces are: .*\blo\b"):
        address_of(name)


def test_a_range_of_ports_is_inclusive_and_may_be_one() -> None:
    assert port_range("20000-20100") == (20_000, 20_100)
    assert port_range("1") == (1, 1)
    assert port_range("65535-65535") == (65_535, 65_535)


NO_RANGES = ["", "0", "0-5", "5-4", "1-65536", "-1", "1-", "-", "a-b", "1-2-3", "1 - 2", "१", "1\n"]


@pytest.mark.parametrize("text", NO_RANGES)
def test_what_is_no_range_of_ports_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a range of ports"):
        port_range(text)
