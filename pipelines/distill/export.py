"""Write a trained student as float16 safetensors with its shape and history in the header."""

from __future__ import annotations

from pathlib import Path

import torch

from featx.backbones.embedded import InvertedResiduals

__all__ = ["export"]


def export(student: InvertedResiduals, path: Path, *, history: str) -> int:
    """Write beside and rename.

    Parameters
    ----------
    student : InvertedResiduals
        `featx.backbones.embedded.load_network` reads it back.
    path : Path
        The safetensors file.
    history : str
        How it came about: settings, corpus, steps; goes into the header.

    Returns
    -------
    int
        Size in bytes.
    """
    from safetensors.torch import save

    shape = student.shape.to_json()
    header = {"format": "featx-embedded-1", "history": history, "shape": shape}
    tensors = {
        k: v.detach().to("cpu", torch.float16).contiguous()
        for k, v in student.state_dict().items()
    }
    data = save(tensors, header)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(path)
    return len(data)
