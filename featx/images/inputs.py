"""Images in any form: paths, PIL images, arrays, tensors, and lists of these.

What comes out is a flat list of sources, one per image. Nothing is read or converted before it is
needed, so that a list of a million paths, or of lazily opened PIL images, stays small.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx._values import frame_columns, is_frame
from featx.errors import ImageDecodeError, ParameterError
from featx.files.paths import existing_form
from featx.files.remote import is_url
from featx.fingerprint import array_digest, file_digest
from featx.images._quiet import no_warnings
from featx.images._rgb import orientation_of, to_rgb, turn

__all__ = [
    "ImageSource",
    "Unreadable",
    "as_sources",
    "as_uint8_rgb",
    "decode_source",
    "source_digest",
]

# A path as text, a PIL image, a uint8 array (h, w, 3) or a torch tensor (3, h, w).
ImageSource: TypeAlias = Any

EXPECTED = (
    "expected a path, a PIL image, a uint8 array (h, w, 3) or (n, h, w, 3), a torch tensor "
    "(3, h, w) or (n, 3, h, w) that is uint8 or float in [0, 1], or a sequence of these"
)


@dataclass(frozen=True)
class Unreadable:
    """What is left of an image in memory whose pixels cannot be had, as of a file that is cut.

    Parameters
    ----------
    reason : str
        Why not, on one line.
    """

    reason: str


def as_sources(images: Any, *, name: str = "images") -> list[ImageSource]:
    """Turn images in any form into a flat list, one source per image.

    Parameters
    ----------
    images : path, PIL.Image.Image, ndarray, torch.Tensor, data frame, or a sequence of these
        Arrays are uint8 of shape (h, w, 3) or (n, h, w, 3); tensors uint8, or float in [0, 1], of
        shape (3, h, w) or (n, 3, h, w). Arrays of text are paths, also as one column (n, 1). Of a
        data frame the column "path" is taken, or its only one.
    name : str, default "images"
        What the caller calls them, for messages.

    Returns
    -------
    list
        Of str, PIL.Image.Image, ndarray (h, w, 3) or tensor (3, h, w); batches are split into
        views without copying.

    Raises
    ------
    ParameterError
        With the index of the first element that is no image, and what was found.

    Examples
    --------
    >>> len(as_sources([np.zeros((5, 8, 8, 3), np.uint8), "photo.jpg"]))
    6
    >>> as_sources(["photo.jpg", 7])
    Traceback (most recent call last):
    featx.errors.ParameterError: images[1]: got int 7, expected a path, ...
    """
    if is_frame(images):
        images = _images_of_frame(images, name)
    elif hasattr(images, "to_pylist"):  # a column of pyarrow
        images = images.to_pylist()
    if _is_single(images) or (_is_array(images) and images.dtype.kind not in "OUS"):
        return list(_split(images, name))
    if _is_array(images):
        if images.ndim == 2 and images.shape[1] == 1:
            images = images[:, 0]
        if images.ndim > 1:
            raise ParameterError(
                f"{name}: got an array of {images.dtype}, shape {images.shape}, {EXPECTED}"
            )
        images = images.reshape(-1).tolist()
    if not isinstance(images, Iterable) or isinstance(images, (dict, set, frozenset, bytes)):
        raise ParameterError(f"{name}: got {_describe(images)}, {EXPECTED}")
    return [one for i, image in enumerate(images) for one in _split(image, f"{name}[{i}]")]


def decode_source(source: ImageSource, min_px: int | None, max_pixels: int) -> Image.Image:
    """Return a source as an RGB image; see `featx.images.decode_image`.

    Raises
    ------
    ImageDecodeError
        If it cannot be read.
    """
    from featx.images.decode import decode_image, one_line

    if isinstance(source, str | bytes):
        return decode_image(source, min_px=min_px, max_pixels=max_pixels)
    try:
        return Image.fromarray(np.asarray(as_uint8_rgb(source)))
    except Exception as err:  # Pillow's plugins raise nearly everything
        raise ImageDecodeError(f"{type(err).__name__}: {one_line(err)}") from err


def as_uint8_rgb(source: ImageSource) -> NDArray[np.uint8]:
    """Return the pixels of an in-memory source.

    Parameters
    ----------
    source : PIL.Image.Image, ndarray or tensor
        As `as_sources` gives them.

    Returns
    -------
    ndarray of shape (h, w, 3), uint8
        PIL images are turned upright and converted as `decode_image` does; floats in [0, 1] are
        rounded to the nearest of 256 values.
    """
    if isinstance(source, Image.Image):
        with no_warnings:
            source.load()
            return np.asarray(turn(to_rgb(source), orientation_of(source)))
    if _is_tensor(source):
        tensor = source.detach().cpu()
        array = (tensor.float() if _is_float(source) else tensor).numpy().transpose(1, 2, 0)
        if array.dtype.kind == "f":
            array = np.rint(array * np.float32(255)).astype(np.uint8)
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(source)


def source_digest(source: ImageSource) -> str:
    """Return the SHA-256 of a file's bytes, or of an in-memory image's RGB pixels.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    return file_digest(source) if isinstance(source, str) else array_digest(as_uint8_rgb(source))


def _images_of_frame(frame: Any, name: str) -> list[Any]:
    columns = frame_columns(frame)
    if len(columns) == 1:
        return next(iter(columns.values()))
    chosen = next((c for c in sorted(columns, reverse=True) if c.lower() == "path"), None)
    if chosen is None:
        raise ParameterError(
            f"{name}: got a data frame with the columns {list(columns)}, expected one named 'path'"
            " or a single one; pass the column that has the images"
        )
    return columns[chosen]


def _is_single(image: Any) -> bool:
    return isinstance(image, (str, os.PathLike, Image.Image)) or _is_tensor(image)


def _is_array(image: Any) -> bool:
    return isinstance(image, np.ndarray)


def _is_tensor(image: Any) -> bool:
    # By its name, since this room does without torch; a subclass counts too.
    return any(c.__module__ == "torch" and c.__name__ == "Tensor" for c in type(image).__mro__)


def _is_float(tensor: Any) -> bool:
    return bool(tensor.is_floating_point())


def _split(image: Any, name: str) -> Iterator[ImageSource]:
    """Yield the images of one element, after checking it."""
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        path = os.fsdecode(path) if isinstance(path, bytes) else path
        yield path if is_url(path) else existing_form(path)
    elif isinstance(image, Image.Image):
        yield image
    elif _is_tensor(image):
        _check_tensor(image, name)
        yield from image.reshape(-1, *image.shape[-3:])
    elif _is_array(image):
        _check_array(image, name)
        yield from image.reshape(-1, *image.shape[-3:])
    else:
        raise ParameterError(f"{name}: got {_describe(image)}, {EXPECTED}")


def _check_array(array: NDArray[Any], name: str) -> None:
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3:
        hint = "; scale to 0..255 and cast to uint8" if array.dtype.kind == "f" else ""
        raise ParameterError(
            f"{name}: got an array of {array.dtype}, shape {array.shape}, {EXPECTED}{hint}"
        )
    _check_pixels(array.shape[-3:-1], name)


def _check_tensor(tensor: Any, name: str) -> None:
    is_right_type = _is_float(tensor) or str(tensor.dtype) == "torch.uint8"
    if not is_right_type or tensor.ndim not in (3, 4) or tensor.shape[-3] != 3:
        raise ParameterError(
            f"{name}: got a tensor of {tensor.dtype}, shape {tuple(tensor.shape)}, {EXPECTED}"
        )
    _check_pixels(tuple(tensor.shape[-2:]), name)
    if _is_float(tensor) and tensor.numel():
        low, high = float(tensor.min()), float(tensor.max())
        if not (low >= 0 and high <= 1):  # so that NaN is refused too
            raise ParameterError(
                f"{name}: got a float tensor with values from {low:g} to {high:g}, expected "
                "[0, 1]; do not normalise with mean and deviation, the backbone does that"
            )


def _check_pixels(shape: Sequence[int], name: str) -> None:
    if 0 in shape:
        raise ParameterError(
            f"{name}: got {shape[0]} x {shape[1]} pixels, expected at least 1 x 1"
        )


def _describe(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:59] + '…'}"
