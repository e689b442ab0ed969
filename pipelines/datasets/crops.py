"""Cut images to their boxes once, so that everything after sees ordinary image files."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from featx._progress import Progress
from featx.errors import ImageDecodeError, ManifestError, ParameterError, StoreWriteError
from featx.images import decode_image
from pipelines.datasets.images import ImageDataset
from pipelines.datasets.retrieval import RetrievalDataset

__all__ = ["write_crops"]

# A quarter of the time of Pillow's default level, for files a few per cent longer.
PNG_LEVEL = 1
N_DIGEST_CHARS = 12


@overload
def write_crops(
    dataset: ImageDataset, folder: str | os.PathLike[str], *, enlarge: float = ...
) -> ImageDataset: ...
@overload
def write_crops(
    dataset: RetrievalDataset, folder: str | os.PathLike[str], *, enlarge: float = ...
) -> RetrievalDataset: ...
def write_crops(
    dataset: ImageDataset | RetrievalDataset,
    folder: str | os.PathLike[str],
    *,
    enlarge: float = 1.0,
) -> ImageDataset | RetrievalDataset:
    """Cut every image to its box, and return the set of what was cut out.

    Parameters
    ----------
    dataset : ImageDataset or RetrievalDataset
        With boxes; of a `RetrievalDataset` the queries are cut, as its protocols have it.
    folder : path
        Made where it does not exist. Crops that are in it already are kept: a crop's name has a
        digest of the image's path, size and time of change, its box and `enlarge`, so that other
        settings never meet an old file.
    enlarge : float, default 1.0
        Factor on width and height of each box, about its centre. What reaches over the border of
        the image is cut off. Razavian et al. 2014 take 1.5 for the birds of CUB.

    Returns
    -------
    ImageDataset or RetrievalDataset
        As given, with the paths of the crops, which are PNG files, and without boxes.

    Raises
    ------
    ManifestError
        If the set has no boxes, or a box lies outside its image.
    ImageDecodeError
        If an image cannot be read; crops written before are kept.
    StoreWriteError
        If a crop cannot be written.

    Notes
    -----
    Images are decoded as everywhere in featx (`featx.images.decode_image`): upright by EXIF, RGB.
    Corners are rounded to whole pixels as by `PIL.Image.Image.crop`.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (60, 40)).save(folder / "bird.jpg")
    >>> birds = ImageDataset(
    ...     "birds", "fine_grained", [str(folder / "bird.jpg")], ["wren"], boxes=[[20, 10, 40, 30]]
    ... )
    >>> crops = write_crops(birds, folder / "crops", enlarge=1.5)
    >>> decode_image(crops.paths[0]).size
    (30, 30)
    """
    if not 0 < enlarge < math.inf:
        raise ParameterError(f"enlarge: got {enlarge!r}, expected a number above 0")
    if isinstance(dataset, RetrievalDataset):
        paths = _write(dataset.name, dataset.queries, dataset.query_boxes, folder, enlarge)
        return replace(dataset, queries=paths, query_boxes=None)
    paths = _write(dataset.name, dataset.paths, dataset.boxes, folder, enlarge)
    return replace(dataset, paths=paths, boxes=None)


def _write(
    name: str,
    paths: tuple[str, ...],
    boxes: NDArray[np.float64] | None,
    folder: str | os.PathLike[str],
    enlarge: float,
) -> tuple[str, ...]:
    if boxes is None:
        raise ManifestError(
            f"dataset {name!r}: has no boxes, expected one per image to cut it to; use the "
            "images as they are"
        )
    target_folder = Path(os.path.abspath(os.path.expanduser(folder)))  # noqa: PTH100, PTH111
    try:
        target_folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StoreWriteError(f"folder {str(target_folder)!r}: {err.strerror}") from err
    seen: Counter[str] = Counter()
    targets = []
    with Progress(len(paths), "crop") as progress:
        for path, box in zip(paths, boxes.tolist(), strict=True):
            key = _key(path, box, enlarge)
            # Two objects may have the very same box; each row keeps a file of its own.
            file = _file_name(path, f"{key}{seen[key] or ''}")
            seen[key] += 1
            if not (target_folder / file).exists():
                _write_crop(path, box, enlarge, target_folder / file)
            targets.append(str(target_folder / file))
            progress.advance()
    return tuple(targets)


def _key(path: str, box: list[float], enlarge: float) -> str:
    try:
        status = Path(path).stat()
    except OSError as err:
        raise ImageDecodeError(f"image {path!r}: {err.strerror}") from err
    return f"{path}|{status.st_size}|{status.st_mtime_ns}|{box}|{float(enlarge)}|"


def _file_name(path: str, key: str) -> str:
    digest = hashlib.sha256(os.fsencode(key)).hexdigest()
    return f"{Path(path).stem}_{digest[:N_DIGEST_CHARS]}.png"


def _write_crop(path: str, box: list[float], enlarge: float, target: Path) -> None:
    try:
        image = decode_image(path)
    except ImageDecodeError as err:
        raise ImageDecodeError(f"image {path!r}: {err}") from err
    corners = _corners(box, enlarge, image.size)
    if corners is None:
        raise ManifestError(
            f"image {path!r}: its box {box} lies outside its {image.width} x {image.height} px"
        )
    # Written beside and renamed, so that a file of this name is always whole.
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        image.crop(corners).save(part, "PNG", compress_level=PNG_LEVEL)
        part.replace(target)
    except OSError as err:
        part.unlink(missing_ok=True)
        raise StoreWriteError(f"crop {str(target)!r}: {err.strerror or err}") from err


def _corners(
    box: list[float], enlarge: float, size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Return whole corners of the enlarged box within the image, None where it is outside."""
    spans = []
    for low, high, length in zip(box[:2], box[2:], size, strict=True):
        centre, half = (low + high) / 2, (high - low) / 2 * enlarge
        first, last = max(centre - half, 0.0), min(centre + half, float(length))
        if first >= last:
            return None
        # A sliver keeps one pixel, the last one at the far border.
        start = min(round(first), length - 1)
        spans.append((start, max(round(last), start + 1)))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom
