"""Which pages may send requests. A browser sends them to this machine for any site that it shows."""

import re
from collections.abc import Mapping, Sequence

from gazeshift.serve.gateway.errors import GatewayError
from gazeshift.serve.gateway.settings import ServeSettings

LOCAL = ("127.0.0.1", "localhost", "::1")
READING = ("GET", "HEAD", "OPTIONS")
OWN = ("same-origin", "none")  # the server's own page, or a typed address
PORTS = {"http": ":80", "https": ":443"}
HOST = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::\d*)?")


def hosts_of(settings: ServeSettings) -> tuple[str, ...]:
    """Names that a server which only this machine can reach is asked by; empty: any, for others may know it by more."""
    return (settings.host, *LOCAL) if settings.is_local else ()


def check_host(host: str, hosts: Sequence[str]) -> None:
    """Refuse a name that somebody else's page had pointed to this machine, so as to read what it answers.

    Args:
        host: that the request names, with or without a port; empty: no browser sent it.
        hosts: that may be named; empty: any.

    Raises:
        GatewayError: 403.
    """
    found = HOST.fullmatch(host.strip().lower())
    name = (found[1] or found[2] or "") if found else None
    if name != "" and hosts and name not in hosts:
        known = " or ".join(dict.fromkeys(hosts))
        raise GatewayError(403, "wrong_host", f"the host must be {known}.")


def check_origin(method: str, headers: Mapping[str, str]) -> None:
    """Refuse what another site's page sends. Programs that are no browsers say nothing of where they come from.

    A browser that tells how the page relates to the server is believed, for a proxy may have changed the host's name.

    Raises:
        GatewayError: 403.
    """
    if method in READING:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    is_own = site in OWN if site is not None else origin is None or _is_at(origin, headers.get("host", ""))
    if not is_own:
        raise GatewayError(
            403, "wrong_origin", "requests from pages of other sites are not allowed. Use the server's own page."
        )


def _is_at(origin: str, host: str) -> bool:
    """Whether both name the same host and port; where the scheme's own port is meant it may be left out."""
    scheme, _, place = origin.strip().lower().partition("://")
    usual = PORTS.get(scheme, "")
    return bool(place) and place.removesuffix(usual) == host.strip().lower().removesuffix(usual)
