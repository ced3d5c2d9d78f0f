"""Whether a download can work at all: asked before anything that would retry for minutes."""

import socket
import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def why_unreachable(url: str, timeout_s: float = 5.0) -> str:
    """Opens a connection to where a download of `url` would go first, its host or the proxy.

    Returns:
      An empty string when that answers, else why not; within `timeout_s` in either case.
    """
    host, port = _first_hop(url)
    outcome = [f"{host} did not answer within {timeout_s:g} s"]

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout_s).close()
        except OSError as error:
            outcome[0] = f"{host}: {error.strerror or error}"
        else:
            outcome[0] = ""

    # A thread of its own, because looking up a name has no time limit.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(timeout_s)
    return outcome[0]


def _first_hop(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)
