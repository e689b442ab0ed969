"""Read one image for the network: hash, decode and preprocess, with a reason where that fails."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.errors import ImageDecodeError, ParameterError
from featx.files.remote import RemoteFile, is_url
from featx.fingerprint import array_digest, bytes_digest
from featx.images.decode import decode_image, one_line, read_regular_file, read_remote_file
from featx.images.inputs import ImageSource, Unreadable, as_uint8_rgb

__all__ = ["Preprocessor", "ReadImage", "read_image", "unread"]


class Preprocessor(Protocol):
    """What turns a decoded image into views: `ImagePreprocessor`, `TransformPreprocessor`."""

    @property
    def min_px(self) -> int | None:
        """Shorter side that decoding must keep, in pixels."""

    @property
    def max_pixels(self) -> int:
        """Largest image that is decoded."""

    def __call__(self, image: Image.Image, /) -> tuple[NDArray[Any], ...]:
        """Return the views of an RGB image."""


@dataclass(frozen=True)
class ReadImage:
    """What became of one image.

    Parameters
    ----------
    digest : str
        SHA-256 of the bytes that were decoded (of the RGB pixels for an image in memory); "" where
        they could not be had.
    size_bytes : int
        Size of the file, or of the array.
    mtime_ns : int
        The file's modification time in nanoseconds, at a URL what `RemoteFile` has; 0 for an image
        in memory.
    views : tuple of ndarray, or None
        The preprocessor's views; None where the image is bad, and in an `ImageBatch`.
    error : str or None
        Why the image is bad, on one line without its path; None where it is good.
    """

    digest: str
    size_bytes: int
    mtime_ns: int
    views: tuple[NDArray[Any], ...] | None = None
    error: str | None = None


def read_image(source: ImageSource, preprocessor: Preprocessor) -> ReadImage:
    """Read an image; a bad one is a result with a reason, never an exception.

    A file's bytes are read once: what is hashed is what is decoded, whatever happens to the file
    meanwhile.

    Parameters
    ----------
    source : str, bytes, RemoteFile, PIL.Image.Image, ndarray or tensor
        As `as_sources` gives it, or a listing, or the content of a file.
    preprocessor : ImagePreprocessor or TransformPreprocessor
        Makes the views.

    Returns
    -------
    ReadImage

    Raises
    ------
    ParameterError
        If a user's transform returns something that no network takes: that is no image's fault.

    Examples
    --------
    >>> from featx.images import ImagePreprocessor
    >>> from featx.recipe import Preprocessing
    >>> read_image("no/such.jpg", ImagePreprocessor(Preprocessing())).error
    'No such file'
    """
    digest, size_bytes, mtime_ns = "", 0, 0
    if isinstance(source, Unreadable):
        return ReadImage(digest, size_bytes, mtime_ns, error=source.reason)
    try:
        if isinstance(source, RemoteFile) or is_url(source):
            data, file = read_remote_file(source)
            mtime_ns = file.mtime_ns
        elif isinstance(source, str):
            data, status = read_regular_file(source)
            mtime_ns = status.st_mtime_ns
        elif isinstance(source, bytes):
            data = source
        else:
            pixels = as_uint8_rgb(source)
            digest, size_bytes = array_digest(pixels), pixels.nbytes
            image = Image.fromarray(np.asarray(pixels))
            return ReadImage(digest, size_bytes, 0, preprocessor(image))
        digest, size_bytes = bytes_digest(data), len(data)
        image = decode_image(data, min_px=preprocessor.min_px, max_pixels=preprocessor.max_pixels)
        return ReadImage(digest, size_bytes, mtime_ns, preprocessor(image))
    except ImageDecodeError as err:
        reason = one_line(err)
    except ParameterError:
        raise
    except MemoryError:
        reason = "not enough memory to preprocess the image"
    except Exception as err:  # noqa: BLE001 - one image must never stop the other hundred thousand
        reason = f"{type(err).__name__}: {one_line(err)}"
    return ReadImage(digest, size_bytes, mtime_ns, error=reason)


def unread(source: ImageSource, reason: str) -> ReadImage:
    """Return the result for an image that no reader survived."""
    if isinstance(source, RemoteFile):
        return ReadImage("", max(source.size_bytes, 0), source.mtime_ns, error=reason)
    try:
        status = os.stat(source) if isinstance(source, str) else None  # noqa: PTH116
    except OSError:
        status = None
    if status is None:
        return ReadImage("", 0, 0, error=reason)
    return ReadImage("", status.st_size, status.st_mtime_ns, error=reason)
