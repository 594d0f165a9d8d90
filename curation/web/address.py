"""The last gate before a connection: the address that is checked is the address that is connected to.

A check of the host name, or of what a resolver says, can be answered differently a moment later (DNS rebinding). Here
the check sits in the function that makes the socket, so every connection passes it: literals, names, every redirect.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REFUSED = tuple(
    ipaddress.ip_network(net)
    for net in (
        *("192.0.0.0/24", "64:ff9b:1::/48", "192.88.99.0/24", "5f00::/16"),  # protocols, local NAT64, 6to4 relays, routing
        *("fec0::/10", "::/96", "3fff::/20"),  # old site-local, v4-compatible, documentation
        *("168.63.129.16/32", "fd00:ec2::254/128"),  # metadata of two clouds
    )
)


class AddressRefused(OSError):
    """A connection to an address that is not on the public internet."""


@functools.lru_cache(maxsize=1 << 16)
def refused(address: str, allowed: tuple[Network, ...] = ()) -> str | None:
    """Why an address must not be connected to, or None. `allowed` networks are exempt (loopback, in tests).

    Refused: private, loopback, link-local (cloud metadata), shared (100.64/10), multicast, reserved and unspecified
    ranges, of IPv4 and IPv6, and IPv4 addresses inside IPv6 ones (mapped, NAT64, 6to4, Teredo).
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is no address"
    if any(ip in net for net in allowed if net.version == ip.version):
        return None
    return next((f"{address} is not public" for one in _inner(ip) if not _public(one)), None)


def _inner(ip: Address) -> list[Address]:
    """The address, and every IPv4 address that it carries."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    if ip.ipv4_mapped:
        return [ip.ipv4_mapped]
    carried: list[Address] = [ip] if ip not in _NAT64 else []
    carried += [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)] if ip in _NAT64 else []
    carried += [ip.sixtofour] if ip.sixtofour else []
    return carried + list(ip.teredo or ())


def _public(ip: Address) -> bool:
    special = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local
    return ip.is_global and not special and not any(ip in net for net in _REFUSED if net.version == ip.version)


def socket_factory(allowed: tuple[Network, ...] = ()) -> Callable[[Any], socket.socket]:
    """For aiohttp's TCPConnector: makes a socket for an address that may be connected to, else raises AddressRefused."""

    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        why = refused(str(address[0]), allowed)
        if why:
            raise AddressRefused(why)
        return socket.socket(family, kind, protocol)

    return make
