"""Fetch a weights file into torch hub's cache, or say in one line how to get it there by hand."""

from __future__ import annotations

import functools
import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import torch

from featx._progress import Progress
from featx.errors import WeightsError
from featx.files.atomic import replacing
from featx.fingerprint import file_digest

__all__ = [
    "content_problem",
    "digest_of",
    "download",
    "fetch_file",
    "path_in_cache",
    "read_hash",
]

TIMEOUT_S = 30.0
CHUNK_BYTES = 2**20
# Of a server that does not say how large the file is: it may send for ever.
MAX_UNTOLD_BYTES = 8 * 2**30
# torch's rule: the digits after the last dash begin the file's SHA-256.
_HASH_IN_NAME = re.compile(r"-([a-f0-9]{6,})\.[a-z]+$")


def path_in_cache(url: str) -> Path:
    """Return where torch hub keeps the file of a URL (``TORCH_HOME`` moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def read_hash(name: str) -> str | None:
    """Return what a published file's SHA-256 begins with, where its name says so.

    Examples
    --------
    >>> read_hash("resnet18-f37072fd.pth")
    'f37072fd'
    """
    found = _HASH_IN_NAME.search(name)
    return found[1] if found else None


def digest_of(path: Path) -> str:
    """Return a file's SHA-256, which is computed once as long as it does not change.

    Raises
    ------
    WeightsError
        If it cannot be read.
    """
    try:
        status = path.stat()
        return _digest_of(str(path), status.st_size, status.st_mtime_ns)
    except OSError as err:
        raise WeightsError(
            f"{path}: cannot be read as weights ({err.strerror or err}), expected a file; check "
            "its permissions"
        ) from err


@functools.lru_cache(maxsize=8)
def _digest_of(path: str, _size: int, _mtime_ns: int) -> str:
    return file_digest(path)


def content_problem(path: Path, published: str) -> str | None:
    """Say what is wrong with a file that has a published file's name.

    Parameters
    ----------
    path : Path
        The file.
    published : str
        The name; one without a hash says nothing that can be checked.

    Returns
    -------
    str or None
        None where the content is what the name says.
    """
    named = read_hash(published)
    if named is None or digest_of(path).startswith(named):
        return None
    return (
        f"{path}: has the name of the published {published} but another content (SHA-256 "
        f"{digest_of(path)[:16]}, expected {named}); images are made as for the published file"
    )


def fetch_file(url: str, *, name: str) -> Path:
    """Return the cached file of a URL, downloading it where absent.

    Parameters
    ----------
    url : str
        Where it is published.
    name : str
        What needs it, for the message.

    Returns
    -------
    Path
        Complete: it is written beside and renamed.

    Raises
    ------
    WeightsError
        If it cannot be downloaded, or its SHA-256 is not the one in its name.
    """
    path = path_in_cache(url)
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download(url, path)
    except (OSError, http.client.HTTPException, ValueError) as err:
        reason = " ".join(str(getattr(err, "reason", err)).split()) or type(err).__name__
        raise WeightsError(
            f"{name}: not at {path}, and {url} cannot be fetched ({reason}); fetch that file on "
            "a machine that can, then put it at that path or pass it with --weights FILE "
            "(weights=FILE in Python); without one, backbone 'featx_base' needs no download"
        ) from err
    return path


def download(url: str, path: Path) -> None:
    """Fetch a file whole, with progress, or leave nothing.

    Raises
    ------
    OSError, http.client.HTTPException, ValueError
        If it does not come, or its SHA-256 is not the one in its name.
    """
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, replacing(path) as beside:
        expected, got = max(0, int(response.headers.get("Content-Length") or 0)), 0
        free = shutil.disk_usage(path.parent).free
        if expected > free:
            raise OSError(f"it has {expected} bytes, and {free} are free on the disk")
        with (
            beside.open("wb") as file,
            Progress(expected, f"download {path.name}", unit="B") as progress,
        ):
            while chunk := response.read(CHUNK_BYTES):
                got += len(chunk)
                if got > (expected or MAX_UNTOLD_BYTES):
                    raise OSError(f"more than {expected or MAX_UNTOLD_BYTES} bytes came")
                digest.update(chunk)
                file.write(chunk)
                progress.advance(len(chunk))
        if expected and got != expected:
            raise OSError(f"got {got} of {expected} bytes")
        named = read_hash(path.name)
        if named and not digest.hexdigest().startswith(named):
            raise OSError(f"SHA-256 is {digest.hexdigest()[:16]}, its name says {named}")
