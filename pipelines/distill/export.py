"""Write a trained student as float16 safetensors with its shape and history in the header."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from featx.backbones.embedded import FeatxSmall
from pipelines.distill.plain import PlainSmall

__all__ = ["export"]


def export(student: nn.Module, path: Path, *, history: str) -> int:
    """Write beside and rename.

    Parameters
    ----------
    student : Module
        A `FeatxSmall`, which `featx.backbones.embedded.load_network` reads back, or a
        `PlainSmall`, which is folded first.
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

    header = {"format": "featx-embedded-1", "history": history}
    if isinstance(student, FeatxSmall):
        header["shape"] = student.shape.to_json()
    elif isinstance(student, PlainSmall):
        student = student.eval().cpu().folded()
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
