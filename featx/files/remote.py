"""Files at URLs (s3://, gs://, memory://, http://, ...), through fsspec (extra ``remote``).

What fsspec reads from its configuration and environment (keys, endpoints, ``FSSPEC_S3_...``) holds
here too.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import posixpath
import re
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from featx._optional import require
from featx.errors import MissingDependencyError, ParameterError, hide_secrets, nearest
from featx.files.http import MAX_FILE_BYTES, TooLargeError, http_options

__all__ = [
    "RemoteFile",
    "download",
    "fetch",
    "fetch_head",
    "filesystem",
    "is_url",
    "list_files",
    "look",
    "look_at_all",
    "plain_path",
    "reason_of",
    "split_url",
    "upload",
]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
LOCAL = ("file", "local")
HTTP = ("http", "https")
# Without these botocore tries an address that nobody answers for minutes.
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 10,
            "read_timeout": 60,
            "retries": {"max_attempts": 2},
        }
    }
}
# From so many names in one folder on, one listing costs less than a question each.
MIN_TO_LIST = 16
N_THREADS = 16
ETAGS = ("ETag", "etag", "md5Hash")
TIMES = ("LastModified", "mtime", "last_modified", "updated", "modified", "created")


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL, as a listing tells of it.

    Parameters
    ----------
    url : str
        Where it is.
    size_bytes : int
        -1 where the listing has none.
    mtime_ns : int
        Changes with the content: made of the ETag where there is one, else the time of the last
        change in nanoseconds; 0 where the listing has neither.
    """

    url: str
    size_bytes: int
    mtime_ns: int


def is_url(name: Any) -> bool:
    """Tell whether a name is a URL rather than a path, which ``file://`` and a path is too."""
    return isinstance(name, str) and _protocol(name) not in ("", *LOCAL)


def plain_path(name: str) -> str:
    """Turn a ``file://`` URL into the path that it means; leave anything else."""
    return split_url(name)[1] if _protocol(name) in LOCAL else name


def split_url(url: str) -> tuple[str, str]:
    """Return protocol and rest."""
    protocol, _, rest = url.partition("://")
    return protocol.lower(), rest


def filesystem(url: str) -> Any:
    """Return fsspec's file system for a URL.

    Raises
    ------
    MissingDependencyError
        If fsspec, or what it needs for the protocol, is not installed.
    ParameterError
        If there is no such protocol, with the nearest name, or it cannot be set up.
    """
    fsspec = require("fsspec", extra="remote", purpose=f"URL {url!r}")
    protocol, rest = split_url(url)
    protocols = fsspec.available_protocols()
    if protocol not in protocols or "::" in rest:
        raise ParameterError(
            f"URL {url!r}: got protocol {protocol!r}{' in a chain' if '::' in rest else ''}, "
            f"expected one that fsspec knows, such as s3, gs, abfs, http or memory."
            f"{nearest(protocol, protocols)}"
        )
    try:
        ours = http_options() if protocol in HTTP else OPTIONS.get(protocol, {})
        configured = [fsspec.config.conf.get(name, {}) for name in _aliases(protocol)]
        options = functools.reduce(_merge, configured, ours)
        return fsspec.filesystem(protocol, **options)
    except ImportError as err:
        raise MissingDependencyError(
            f"URL {url!r} needs a package that is not installed ({reason_of(err)}); install it, "
            "or for s3: pip install 'featx[remote]'"
        ) from err
    except Exception as err:
        raise ParameterError(
            f"URL {url!r}: {protocol} cannot be set up ({reason_of(err)}), expected its settings "
            "as fsspec reads them, in the environment or ~/.config/fsspec"
        ) from err


def list_files(url: str) -> list[RemoteFile]:
    """List the files under a URL, at any depth, or that a pattern matches, sorted by URL.

    Raises
    ------
    Exception
        Whatever fsspec raises; see `reason_of`.
    """
    fs = filesystem(url)
    fs.invalidate_cache()  # what is there now, not what an earlier call found
    path = fs._strip_protocol(url)
    found = fs.glob(path, detail=True) if "*" in url else fs.find(path, detail=True)
    if not found and split_url(url)[0] in HTTP:
        fs.info(path)  # a server that nobody can reach lists nothing, and says why only here
    files = [
        _describe(_join_protocol(url, name), info)
        for name, info in found.items()
        if info.get("type") != "directory"
    ]
    return sorted(files, key=lambda file: file.url)


def look(url: str) -> RemoteFile:
    """Ask for one file's size and time.

    Raises
    ------
    Exception
        Whatever fsspec raises; see `reason_of`.
    """
    fs = filesystem(url)
    return _describe(url, fs.info(fs._strip_protocol(url)))


def look_at_all(urls: Iterable[str]) -> dict[str, RemoteFile]:
    """Ask for many files; those that cannot be had are left out.

    A folder of which many are asked is listed once.
    """
    folders: dict[str, list[str]] = {}
    for url in urls:
        folders.setdefault(posixpath.dirname(url), []).append(url)
    found: dict[str, RemoteFile] = {}
    single: list[str] = []
    for folder, names in folders.items():
        if len(names) < MIN_TO_LIST:
            single += names
            continue
        wanted = set(names)
        fs = filesystem(folder)
        try:
            fs.invalidate_cache()
            entries = fs.ls(fs._strip_protocol(folder), detail=True)
        except Exception:  # noqa: BLE001 - each name is then asked for, and says why not
            single += names
            continue
        files = (_describe(_join_protocol(folder, entry["name"]), entry) for entry in entries)
        found |= {file.url: file for file in files if file.url in wanted}
    if single:
        with ThreadPoolExecutor(N_THREADS) as threads:
            found |= {file.url: file for file in threads.map(_look_or_none, single) if file}
    return found


def fetch(file: RemoteFile) -> bytes:
    """Return a file's bytes, with one request: at most 2 GiB, and one more than it should have.

    Raises
    ------
    Exception
        Whatever fsspec raises; see `reason_of`. `TooLargeError` if more comes.
    """
    if file.size_bytes > MAX_FILE_BYTES:
        raise TooLargeError(MAX_FILE_BYTES)
    if file.size_bytes == 0:  # some refuse to give a part of nothing
        return b""
    fs = filesystem(file.url)
    path = fs._strip_protocol(file.url)
    if split_url(file.url)[0] in HTTP:  # a server need not give parts; see `featx.files.http`
        return bytes(fs.cat_file(path))
    limit = MAX_FILE_BYTES if file.size_bytes < 0 else file.size_bytes
    data = bytes(fs.cat_file(path, start=0, end=limit + 1))
    if len(data) > MAX_FILE_BYTES:
        raise TooLargeError(MAX_FILE_BYTES)
    return data


def fetch_head(url: str, n_bytes: int) -> bytes:
    """Return the first bytes of a file, fewer where it has fewer.

    Raises
    ------
    Exception
        Whatever fsspec raises; see `reason_of`.
    """
    fs = filesystem(url)
    return bytes(fs.cat_file(fs._strip_protocol(url), start=0, end=n_bytes))[:n_bytes]


def download(file: RemoteFile, place: Path, callback: Callable[[int], Any]) -> None:
    """Write a file to disk, and stop where more comes than it should have.

    Parameters
    ----------
    file : RemoteFile
        Where its size is not known, it may have 2 GiB.
    place : Path
        What is there is overwritten.
    callback : callable
        Called with the bytes that are there.

    Raises
    ------
    Exception
        Whatever fsspec raises; see `reason_of`. `TooLargeError` if more comes.
    """
    free = shutil.disk_usage(place.parent).free
    if file.size_bytes > free:
        raise OSError(errno.ENOSPC, f"it has {file.size_bytes} bytes, and {free} are free")
    limit = MAX_FILE_BYTES if file.size_bytes < 0 else file.size_bytes

    def stop_at_limit(n_bytes: int) -> None:
        if n_bytes > limit:
            raise TooLargeError(limit)
        callback(n_bytes)

    fs = filesystem(file.url)
    path = fs._strip_protocol(file.url)
    fs.get_file(path, str(place), callback=_callback(stop_at_limit))


def upload(place: Path, url: str, callback: Callable[[int], Any]) -> None:
    """Put a file at a URL; `callback` is called with the bytes that are there.

    Raises
    ------
    Exception
        Whatever fsspec raises; see `reason_of`.
    """
    fs = filesystem(url)
    fs.put_file(str(place), fs._strip_protocol(url), callback=_callback(callback))


def _callback(call: Callable[[int], Any]) -> Any:
    from fsspec.callbacks import Callback

    return Callback(hooks={"bytes": lambda size, value, **_: call(value)})


def reason_of(err: BaseException) -> str:
    """Say on one line what an error of fsspec's means, without what signs a URL in it."""
    text = hide_secrets(" ".join(str(err).split()))[:200]
    if isinstance(err, FileNotFoundError):
        why = err.__cause__  # fsspec's HTTP calls everything a missing file
        is_http = type(why).__module__.startswith("aiohttp")
        return hide_secrets(" ".join(str(why).split()))[:200] if is_http else "no such file"
    if isinstance(err, PermissionError):
        return f"access denied ({text})" if text else "access denied"
    if type(err).__name__ == "NoCredentialsError":
        return "no credentials were found"
    return text or type(err).__name__


def _aliases(protocol: str) -> tuple[str, ...]:
    return HTTP if protocol in HTTP else (protocol,)


def _merge(ours: dict[str, Any], configured: dict[str, Any]) -> dict[str, Any]:
    """Return both; what the user has configured wins, which fsspec would take for a default."""
    both = {
        name: _merge(ours[name], value) if isinstance(value, dict) and name in ours else value
        for name, value in configured.items()
    }
    return {**ours, **both}


def _protocol(name: str) -> str:
    return split_url(name)[0] if "://" in name and _URL.match(name) else ""


def _look_or_none(url: str) -> RemoteFile | None:
    try:
        return look(url)
    except Exception:  # noqa: BLE001 - reading it gives the reason for the failures table
        return None


def _join_protocol(asked: str, name: str) -> str:
    """Return a listed name as a URL of the protocol asked for."""
    return name if is_url(name) else f"{split_url(asked)[0]}://{name.lstrip('/')}"


def _describe(url: str, info: dict[str, Any]) -> RemoteFile:
    size = info.get("size")
    return RemoteFile(url, -1 if size is None else int(size), _stamp(info))


def _stamp(info: dict[str, Any]) -> int:
    for key in ETAGS:
        if info.get(key):
            return _hash(str(info[key]).strip('"'))
    for key in TIMES:
        value = info.get(key)
        if isinstance(value, datetime):
            return int(value.timestamp() * 1e9)
        if isinstance(value, int | float):
            return int(value * 1e9)
        if isinstance(value, str) and value:
            return _hash(value)
    return 0


def _hash(text: str) -> int:
    """Return a number that stands for a text, below 2^63."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
