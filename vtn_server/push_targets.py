"""Where the VTN may post to: a VEN names an address, and the VTN is not its tool to reach into our network.

A VEN's oadrTransportAddress is checked when it registers, as far as that is possible without asking DNS, and
again at every connection, when it is an IP address: a name may lead elsewhere by then ("DNS rebinding").

Where nothing is listed, public addresses are allowed and nothing else. Where networks are listed, those are
allowed and nothing else, so private VENs have to be listed. Addresses that are a network's own (multicast,
unspecified, link-local with the metadata services of clouds) are never allowed by a network wider than /24.

IPv6 forms of IPv4 addresses (mapped, 6to4, Teredo, NAT64) count as the IPv4 address. Pure.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from schemas.oadr20b.errors import DeploymentError, InvalidData

__all__ = ["IpNetwork", "PushTargets", "check_address"]

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_NARROW: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTargets:
    """Which addresses a push VEN may have.

    Attributes:
        networks: Those that are allowed; empty allows public addresses only.
        ports: Those that are allowed; empty is any.
        https_only: Whether the VEN must have a certificate there.
    """

    networks: tuple[IpNetwork, ...] = ()
    ports: tuple[int, ...] = ()
    https_only: bool = False

    @classmethod
    def loopback(cls, *, https_only: bool = False) -> PushTargets:
        """Return what a VTN needs whose VENs are all on its own machine."""
        return cls(networks=_LOOPBACK, https_only=https_only)

    def refusal(self, address: str, port: int) -> str | None:
        """Return why nothing is posted to an IP address, or None if it may be."""
        try:
            found = _plain(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return f"{address} is no IP address"
        if self.ports and port not in self.ports:
            return f"port {port} is not one that push VENs may have"
        if self.networks:
            allowed = any(_covers(network, found) for network in self.networks)
        else:
            allowed = found.is_global and not found.is_multicast
        return None if allowed else f"{found} is not an address that push VENs may have"

    def check(self, url: str) -> None:
        """Check the oadrTransportAddress of a push VEN, except where its name leads.

        Raises:
            InvalidData: if it is not the http or https address of a host, without query and fragment.
            DeploymentError: if nothing is posted there.
        """
        scheme, host, port = check_address(url)
        if self.https_only and scheme != "https":
            raise DeploymentError("the transport address of a push VEN is an https URL here")
        if host == "localhost" or host.endswith(".localhost"):
            host = "127.0.0.1"
        try:
            ipaddress.ip_address(host)
        except ValueError:
            if self.ports and port not in self.ports:
                raise DeploymentError(f"port {port} is not one that push VENs may have") from None
            return  # a name: where it leads is known when it is connected to
        reason = self.refusal(host, port)
        if reason is not None:
            raise DeploymentError(reason)


def check_address(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of the oadrTransportAddress of a push VEN.

    Raises:
        InvalidData: if it is not the http or https address of a host, without query and fragment.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as err:
        raise InvalidData(f"the transport address is no URL: {err}") from err
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    if scheme not in ("http", "https") or not host or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidData("the transport address of a push VEN is an http or https URL")
    return scheme, host, port if port is not None else {"http": 80, "https": 443}[scheme]


def _plain(address: IpAddress) -> IpAddress:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _covers(network: IpNetwork, address: IpAddress) -> bool:
    if address not in network:
        return False
    special = address.is_link_local or address.is_multicast or address.is_unspecified
    return not special or network.prefixlen >= _NARROW
