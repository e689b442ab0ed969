"""Write a tuned network's weights in the layout of the original's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from featx._files import replacing
from featx.errors import ParameterError, StoreWriteError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_target", "write_weights"]

SUFFIX = ".safetensors"


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return where weights are to be written, before the hours that make them.

    Raises
    ------
    ParameterError
        If the name does not end in ``.safetensors``.
    StoreWriteError
        If its folder does not exist.
    """
    target = Path(path)
    if target.suffix != SUFFIX:
        raise ParameterError(
            f"weights {str(target)!r}: got the ending {target.suffix!r}, expected {SUFFIX!r}"
        )
    if not target.parent.is_dir():
        raise StoreWriteError(
            f"weights {str(target)!r}: got the folder {str(target.parent)!r}, which does not "
            "exist, expected one to write to; create it"
        )
    return target


def write_weights(
    path: str | os.PathLike[str],
    module: nn.Module,
    *,
    head: str | None,
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
    metadata : dict of str to str
        Goes into the file's header.

    Raises
    ------
    ParameterError, StoreWriteError
        As `check_target`, and if the file cannot be written.
    """
    from safetensors.torch import save

    target = check_target(path)
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
        if head is None or not name.startswith(f"{head}.")
    }
    data = save(tensors, metadata=metadata)
    try:
        with replacing(target) as beside:
            beside.write_bytes(data)
    except OSError as err:
        reason = err.strerror or " ".join(str(err).split())
        raise StoreWriteError(
            f"weights {str(target)!r}: cannot be written ({reason}), expected a folder that "
            "exists, is writable and has room"
        ) from err
