"""How much a client may send, and how often."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from featx.serve._refusal import RefusalError

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Shares", "TokenBuckets", "network_of", "read_body"]

SAVED_S = 10.0
MAX_CLIENTS = 10_000
BODY_TIMEOUT_S = 60.0
PAUSE_S = 10.0
FACTOR_READ = 4


class TokenBuckets:
    """One bucket per client, which fills at `rate` per second up to the tokens of 10 s.

    Parameters
    ----------
    rate : float
        Requests per second; 0 for no limit.
    clock : callable
        Seconds, rising.

    Examples
    --------
    >>> now = [0.0]
    >>> buckets = TokenBuckets(rate=0.1, clock=lambda: now[0])
    >>> buckets.wait_s("10.0.0.1", 1), buckets.wait_s("10.0.0.1", 1), buckets.wait_s("10.0.0.2", 1)
    (0.0, 10.0, 0.0)
    >>> now[0] = 10.0
    >>> buckets.wait_s("10.0.0.1", 1)
    0.0
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._size = max(1.0, rate * SAVED_S)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str, cost: float) -> float:
        """Take `cost` tokens and return 0, or take none and return the seconds to wait."""
        if not self._rate:
            return 0.0
        cost = min(cost, self._size)  # a batch larger than the bucket waits until it is full
        network, now = network_of(client), self._clock()
        level, before = self._buckets.pop(network, (self._size, now))
        level = min(self._size, level + (now - before) * self._rate)
        is_enough = level >= cost
        self._buckets[network] = (level - cost if is_enough else level, now)
        while len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if is_enough else (cost - level) / self._rate

    def take(self, client: str, cost: float) -> None:
        """Take tokens.

        Raises
        ------
        RefusalError
            If there are too few, with the time to wait.
        """
        wait_s = self.wait_s(client, cost)
        if wait_s:
            raise RefusalError(
                429,
                f"too many requests: at most {self._rate:g} per second; try again in "
                f"{wait_s:.1f} s",
                {"Retry-After": str(int(wait_s) + 1)},
            )


class Shares:
    """How much of a shared resource one client may hold at a time.

    Parameters
    ----------
    n : int
        Pieces for one client; further ones wait for these.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        # an entry vanishes when nobody holds or awaits it
        self._of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, client: str) -> asyncio.Semaphore:
        """Return the semaphore to hold meanwhile."""
        network = network_of(client)
        share = self._of.get(network)
        if share is None:
            share = self._of[network] = asyncio.Semaphore(self._n)
        return share


def network_of(client: str) -> str:
    """Return an IPv4 address as it is, and of IPv6 the 64 bits that one household has."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return client


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read a request's body within the limits.

    Raises
    ------
    RefusalError
        If it is too large, empty, or does not come within a minute, some of it every 10 s.
    """
    too_large = RefusalError(413, f"the body is too large, expected at most {max_bytes} bytes")
    declared = request.headers.get("content-length", "0")
    # The rest of a body that is a little too large is read and thrown away: a client that is cut
    # off while it sends would not look at the answer.
    most = max_bytes * FACTOR_READ
    if not (declared.isascii() and declared.isdigit() and len(declared) < 18):
        raise too_large
    if int(declared) > most:
        raise too_large
    body, n_bytes = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S), asyncio.timeout(PAUSE_S) as pause:
            async for chunk in request.stream():
                pause.reschedule(asyncio.get_running_loop().time() + PAUSE_S)
                n_bytes += len(chunk)
                if n_bytes > most:
                    raise too_large
                if n_bytes <= max_bytes:
                    body += chunk
    except TimeoutError as err:
        raise RefusalError(
            408,
            f"the body did not come within {BODY_TIMEOUT_S:g} s, or none of it in {PAUSE_S:g} s",
        ) from err
    if n_bytes > max_bytes:
        raise too_large
    if not body:
        raise RefusalError(422, "the body is empty, expected the bytes of an image")
    return bytes(body)
