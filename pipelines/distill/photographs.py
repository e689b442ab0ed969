"""Photographs to distil over: a folder of images, or tar shards, read one at a time.

Only positions in the shards are held, not pixels, so a corpus may be larger than memory.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.errors import ManifestError
from featx.fingerprint import json_digest

__all__ = ["Photographs", "find_photographs"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Photographs:
    """An indexable list of photographs.

    Parameters
    ----------
    names : tuple of str
        Path below the folder or inside the shard, sorted.
    places : tuple of (str, int, int)
        File, offset and size in bytes; offset -1 means the whole file.
    """

    names: tuple[str, ...]
    places: tuple[tuple[str, int, int], ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Decode one photograph to (H, W, 3) uint8 RGB."""
        file, offset, size = self.places[index]
        with Path(file).open("rb") as stream:
            if offset >= 0:
                stream.seek(offset)
                data: IO[bytes] = io.BytesIO(stream.read(size))
            else:
                data = stream
            with Image.open(data) as image:
                return np.asarray(image.convert("RGB"))

    @property
    def digest(self) -> str:
        """Hash of names and sizes: tells one corpus from another, cheaply."""
        return json_digest([[n, p[2]] for n, p in zip(self.names, self.places, strict=True)])


def find_photographs(sources: Sequence[str | Path], *, include: Sequence[str] = ()) -> Photographs:
    """List the photographs of folders and tar shards.

    Parameters
    ----------
    sources : sequence of str or Path
        Folders (searched in depth; ``.tar`` files in them are shards), or ``.tar`` files.
    include : sequence of str, default ()
        First folders of the names to take, for example ``("intel_scenes",)``; none means all.

    Raises
    ------
    ManifestError
        If a source does not exist, an `include` matches nothing, or nothing is found.
    """
    found: dict[str, tuple[str, int, int]] = {}
    for source in map(Path, sources):
        if not source.exists():
            raise ManifestError(
                f"--images: {str(source)!r} does not exist, expected a folder or a .tar file"
            )
        found.update(_in_folder(source) if source.is_dir() else _in_shard(source))
    heads = {name.split("/")[0] for name in found}
    if missing := sorted(set(include) - heads):
        raise ManifestError(f"--include: got {missing}, expected some of {sorted(heads)}")
    kept = {n: p for n, p in sorted(found.items()) if not include or n.split("/")[0] in include}
    if not kept:
        raise ManifestError(
            f"--images: no photographs in {[str(s) for s in sources]}, "
            f"expected files that end in one of {SUFFIXES}, or .tar files that hold them"
        )
    return Photographs(tuple(kept), tuple(kept.values()))


def _in_folder(folder: Path) -> dict[str, tuple[str, int, int]]:
    found: dict[str, tuple[str, int, int]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".tar":
            found.update(_in_shard(path))
        elif path.suffix.lower() in SUFFIXES:
            name = path.relative_to(folder).as_posix()
            found[name] = (str(path), -1, path.stat().st_size)
    return found


def _in_shard(path: Path) -> dict[str, tuple[str, int, int]]:
    with tarfile.open(path, "r:") as shard:  # compressed shards could not be read at random
        return {
            m.name: (str(path), m.offset_data, m.size)
            for m in shard
            if m.isfile() and m.name.lower().endswith(SUFFIXES)
        }
