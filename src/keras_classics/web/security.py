"""Who may ask: the page itself, on this machine, and no other site that a browser has open.

A site can let its own name point to this machine (DNS rebinding), and make a browser send requests
here. Such requests bear that name as their host, or that site as their origin.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# A drawing that is opened by itself has its styles and its font inside; it can ask for nothing.
DRAWING_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; font-src data:; frame-ancestors 'none'"
)
_HEADERS: Mapping[str, str] = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
_SAFE = frozenset({"GET", "HEAD"})
_OWN_SITE = frozenset({"", "same-origin", "none"})  # "none": typed into the address line


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses what does not come from the page, and gives every answer its headers."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str = "127.0.0.1",
        own_use: tuple[str, ...] = ("/api/",),
        any_name: bool = False,
    ) -> None:
        """A guard before an application.

        Args:
            app: The application.
            host: Where the server listens.
            own_use: How the addresses begin that no other site's page may load, even to show them.
            any_name: Whether it may be called by any name: behind a proxy, in a cluster.
        """
        self.app = app
        self._own_use = own_use
        self._any_name = any_name
        own = host.lower()
        self._names = {*LOOPBACK, f"[{own}]" if ":" in own else own}
        # Where it listens on all addresses, any of them may be named, but no name of a site's own.
        self._any_address = not is_loopback(host)
        if self._any_address:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope), scope)
        if refusal is not None:
            answer = JSONResponse({"error": refusal}, status_code=403)
            await answer(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _refusal(self, method: str, path: str, headers: Headers, scope: Scope) -> str | None:
        """Why a request is refused; None if it is not."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not (self._any_name or self._is_own(hosts[0], _port(scope))):
            return f"host {', '.join(hosts)!r} is not this server's; open the address it printed."
        origin = headers.get("origin")
        if method not in _SAFE and origin is not None and not self._is_origin(origin, hosts[0]):
            return f"a request from {origin!r} is refused; only this server's own page may ask."
        if path.startswith(self._own_use) and headers.get("sec-fetch-site", "") not in _OWN_SITE:
            return "a request from another site is refused; only this server's own page may ask."
        return None

    def _is_origin(self, origin: str, host: str) -> bool:
        # A proxy may have taken the s off https.
        schemes = ("http", "https") if self._any_name else ("http",)
        return origin.lower() in {f"{scheme}://{host.lower()}" for scheme in schemes}

    def _is_own(self, host: str, port: int | None) -> bool:
        name, colon, given = host.lower().rpartition(":")
        if not colon or given.endswith("]"):
            name, given = host.lower(), "80"
        if given != str(port):
            return False
        return name in self._names or (self._any_address and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _port(scope: Scope) -> int | None:
    server = scope.get("server")
    return server[1] if server else None
