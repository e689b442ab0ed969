"""Write a tuned network's weights in the layout of the original's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx._version import __version__
from featx.errors import ParameterError
from featx.files.outputs import files_of, write_output

if TYPE_CHECKING:
    from torch import nn

__all__ = ["write_weights"]

SUFFIX = ".safetensors"


def write_weights(
    path: str | os.PathLike[str],
    module: nn.Module,
    *,
    head: str | None,
    weights: Any = None,
    metadata: dict[str, str],
) -> None:
    """Write the weights without the classifier, beside the target, and rename.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors``; replaced where it exists.
    module : nn.Module
    head : str or None
        Its classifier, which knows other classes and other features; `featx.load_backbone` does
        without it.
    weights : str, path or None
        What training started from; such a file, or one in such a folder, is not replaced.
    metadata : dict of str to str
        Goes into the file's header.

    Raises
    ------
    ParameterError
        If the name does not end in ``.safetensors``.
    StoreWriteError
        If the file cannot be written, or holds anything but older tuned weights.
    """
    from safetensors.torch import save

    suffix = Path(path).suffix
    if suffix != SUFFIX:
        raise ParameterError(
            f"weights {os.fspath(path)!r}: got the ending {suffix!r}, expected {SUFFIX!r}"
        )
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
        if head is None or not name.startswith(f"{head}.")
    }
    # the creator is how an older file of ours is known from weights of other origin
    data = save(tensors, metadata={"creator": f"featx {__version__}", **metadata})
    inputs = files_of(weights) if isinstance(weights, (str, os.PathLike)) else []
    with write_output(path, "weights", inputs=inputs) as beside:
        beside.write_bytes(data)
