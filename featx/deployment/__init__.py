"""A network with what was trained on it as one file that runs without featx.

Begin reading at `export.py`: read what to export, convert its three parts, compare with featx,
write. ONNX parts are joined in `_onnx.py`; `_pixels.py` is from a decoded image to the network's
view, `_answer.py` from features to labels.
"""

from __future__ import annotations

from featx.deployment.export import Exported, export_model

__all__ = ["Exported", "export_model"]
