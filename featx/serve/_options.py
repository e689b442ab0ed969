"""What may be set when serving, checked before anything is loaded."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from featx.errors import ParameterError, require_number

__all__ = ["ServeOptions", "is_loopback"]

MIN_TOKEN = 8
MIN_DIFFERENT = 4
ORIGIN = re.compile(
    r"(?P<scheme>https?)://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(:(?P<port>[0-9]{1,5}))?"
)
USUAL_PORTS = (("http", "80"), ("https", "443"))


@dataclass(frozen=True)
class ServeOptions:
    """Where to listen, and the limits.

    Parameters
    ----------
    host : str, default "127.0.0.1"
        Address to listen on. Any but a loopback address needs a token.
    port : int, default 8000
        0 lets the system choose.
    token : str, optional
        What clients must send as ``Authorization: Bearer TOKEN``. At least 8 characters, of which
        4 differ; only a random one cannot be guessed: ``python -c 'import secrets;
        print(secrets.token_urlsafe())'`` makes one of 43 characters, 256 bits. Every attempt is
        compared, so that nobody can lock the owner of the right one out.
    trusted_proxies : tuple of str, default ()
        Addresses of proxies whose header ``X-Forwarded-For`` says who a client is. Without, all
        clients of a proxy share one client's limits, and the header is ignored.
    writable : bool, default False
        Let clients add, remove and relabel images; needs a token.
    write_token : str, optional
        What clients must send instead of `token` to change the index; other than `token`, which
        then reads alone. Default: `token`.
    cors_origins : tuple of str, default ()
        Origins of other sites, such as ``"https://shop.example"``, whose pages may ask, show the
        images and hold the page in a frame.
    show_names : bool, default False
        Show the images' file names, without their folders. Else nothing of a path leaves.
    show_paths : bool, default False
        Show the images' whole paths, and their names.
    columns : tuple of str, optional
        Further columns of the index that clients see and filter by. Default: all.
    link_column : str, optional
        Column that holds the address of each image's own page. Default: the first whose values
        all begin with ``http://`` or ``https://``.
    batch_size : int, default 16
        Images that go through the network together at most. Memory grows with it.
    wait_ms : float, default 4
        How long a query waits for others to go with. A lone query is that much slower.
    max_upload_mb : float, default 20
        Largest request body, in units of 10^6 bytes.
    max_pixels : int, default 100,000,000
        Largest width x height of an uploaded image, half of it for AVIF and animated WebP. A
        decoded pixel takes 4 to 10 bytes (12 of a progressive JPEG), and four images are decoded
        at a time.
    rate : float, default 20
        Requests per second that one client's address may make. Each image of a batch counts as
        one, a thumbnail as a tenth; unused ones are saved up for 10 s. 0: no limit.
    keep_uploads_mb : float, default 64
        Memory for the last uploads, in units of 10^6 bytes, so that an address can name one; who
        has neither the address nor the image cannot find it. 0: none is kept.
    copy_distance : float, default 0.02
        Cosine distance of features up to which two images are shown as near-duplicates. At the
        default, those that `featx.evaluation.find_leaks` found were all copies.

    Raises
    ------
    ParameterError
        If a value is out of range, or something needs a token and there is none.

    Examples
    --------
    >>> ServeOptions(host="0.0.0.0")
    Traceback (most recent call last):
    featx.errors.ParameterError: host: got '0.0.0.0' without a token, expected a loopback ...
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    writable: bool = False
    write_token: str | None = None
    cors_origins: tuple[str, ...] = ()
    show_names: bool = False
    show_paths: bool = False
    columns: tuple[str, ...] | None = None
    link_column: str | None = None
    batch_size: int = 16
    wait_ms: float = 4.0
    max_upload_mb: float = 20.0
    max_pixels: int = 100_000_000
    rate: float = 20.0
    keep_uploads_mb: float = 64.0
    copy_distance: float = 0.02

    def __post_init__(self) -> None:
        for name, low, high in (
            ("port", 0, 65535),
            ("batch_size", 1, 1024),
            ("wait_ms", 0, 1000),
            ("max_upload_mb", 0.001, 2000),
            ("max_pixels", 1, 2**31),
            ("rate", 0, 1e6),
            ("keep_uploads_mb", 0, 1e6),
            ("copy_distance", 0, 2),
        ):
            require_number(name, getattr(self, name), low, high)
        for name in ("token", "write_token"):
            _require_token(name, getattr(self, name))
        for origin in self.cors_origins:
            _require_origin(origin)
        for proxy in self.trusted_proxies:
            if not _is_address(proxy):
                raise ParameterError(
                    f"trusted_proxies: got {proxy!r}, expected addresses or networks of proxies, "
                    "such as 10.0.0.1 or 10.0.0.0/24; a name or '*' would trust anybody"
                )
        if self.token is None and not is_loopback(self.host):
            raise ParameterError(
                f"host: got {self.host!r} without a token, expected a loopback address such as "
                "127.0.0.1; to let other machines ask, set a token (--token, or FEATX_TOKEN)"
            )
        if self.writable and self.token is None and self.write_token is None:
            raise ParameterError(
                "writable: got no token, expected one, since any page in a browser here could "
                "change the index otherwise; set a token (--write-token, or FEATX_WRITE_TOKEN; "
                "or --token, which then reads and writes)"
            )
        if self.write_token is not None and not self.writable:
            raise ParameterError(
                "write_token: got one for an index that may not be changed, expected writable too "
                "(--writable)"
            )
        if self.write_token is not None and self.write_token == self.token:
            raise ParameterError(
                "write_token: got the same as token, expected another one; without write_token "
                "the token reads and writes"
            )

    def is_trusted_proxy(self, host: str) -> bool:
        """Tell whether an address is that of a proxy that says who its clients are."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        proxies = (ipaddress.ip_network(proxy, strict=False) for proxy in self.trusted_proxies)
        return any(address in proxy for proxy in proxies)

    @property
    def max_upload_bytes(self) -> int:
        """Largest request body in bytes."""
        return int(self.max_upload_mb * 1e6)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a host's address.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("localhost")
    (True, True, True)
    >>> is_loopback("0.0.0.0"), is_loopback("example.org")
    (False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _require_token(name: str, token: str | None) -> None:
    if token is not None and not _is_acceptable(token):
        raise ParameterError(
            f"{name}: got {len(token)} characters, expected at least {MIN_TOKEN}, "
            f"{MIN_DIFFERENT} of them different, all printable ASCII without spaces; make one "
            "with: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )


def _require_origin(origin: str) -> None:
    """Refuse what no browser sends as the origin of a page."""
    found = ORIGIN.fullmatch(origin)
    if not found or (found["scheme"], found["port"]) in USUAL_PORTS:
        raise ParameterError(
            f"cors_origins: got {origin!r}, expected the origin of a site as browsers send it: "
            "https://shop.example or http://localhost:3000, in small letters, without a path, a "
            "slash at the end or the usual port; name each, since '*' would let in everybody"
        )


def _is_acceptable(token: str) -> bool:
    """Tell whether a token fits a header and is not a plain slip, such as one letter."""
    is_long = len(token) >= MIN_TOKEN and len(set(token)) >= MIN_DIFFERENT
    return is_long and all("!" <= c <= "~" for c in token)


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False
