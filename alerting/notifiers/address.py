"""Which addresses a receiver may have: never one inside our own network, unless the operator allows it (SSRF).

A name is resolved once, here, and the connection goes to the address that was checked: a name that answers
differently the second time gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from milepost.errors import Permanent, Unavailable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_NOT_PUBLIC: Final = [
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # of the public range, and answers a cloud's own machines with secrets
        "192.0.0.0/24",  # these three are public to some versions of Python
        "64:ff9b:1::/48",
        "fec0::/10",
    )
]


def resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses of a host that may be connected to. Raises Unavailable, or Permanent if any is private."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{host} can't be resolved: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    private = [address for address in addresses if not is_public(address)]
    if private and not allow_private:
        raise Permanent(
            f"{host} is the private address {private[0]}; MILEPOST_ALLOW_PRIVATE_RECEIVERS=true allows such receivers"
        )
    return addresses


def is_public(text: str) -> bool:
    """Whether this is a unicast address of the public internet, seen through IPv6's ways to write an IPv4 one."""
    address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))
    own = any(address in network for network in _NOT_PUBLIC)
    return address.is_global and not address.is_multicast and not own


def _unwrapped(address: IPAddress) -> IPAddress:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64 or address in _COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)
