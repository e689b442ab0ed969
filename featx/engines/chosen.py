"""What was chosen to run a network, and from how many images on a conversion pays."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

__all__ = ["MIN_PASSES", "EngineChoice"]

# Converting a network takes as long as OpenVINO saves on some hundred images (docs/decisions).
MIN_PASSES = 128


@dataclass(frozen=True)
class EngineChoice:
    """What runs the network, and why.

    Parameters
    ----------
    name : {"torch", "compile", "openvino", "onnxruntime"}
        The engine; "onnxruntime" runs kept graphs alone.
    reason : str
        For people, for example "as asked for".
    """

    name: str
    reason: str

    @property
    def version(self) -> str:
        """Version of the engine's package."""
        return importlib.metadata.version("torch" if self.name == "compile" else self.name)
