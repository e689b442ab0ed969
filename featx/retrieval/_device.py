"""Exact search on a GPU: the vectors stay there, the winners' distances come from the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.errors import ParameterError
from featx.retrieval._vectors import Finder, Floats, Mask, Rows, Vectors

__all__ = ["DeviceFinder"]

ROWS_AT_A_TIME = 2**17  # 256 MiB of products with 512 queries


class DeviceFinder(Finder):
    """Candidates from all rows, on a device of torch.

    Parameters
    ----------
    vectors : Vectors
        Copied to the device in float32.
    device : str
        "cuda", "cuda:1", or "cpu".

    Raises
    ------
    ParameterError
        If there is no such device.
    """

    def __init__(self, vectors: Vectors, device: str) -> None:
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ParameterError(
                f"storage: got {device!r}, but torch finds no CUDA device; expected 'memory'"
            )
        rows = torch.empty(vectors.shape, dtype=torch.float32, device=device)
        for start, block in vectors.blocks():
            rows[start : start + len(block)] = torch.from_numpy(np.ascontiguousarray(block))
        norms = torch.from_numpy(vectors.norms).to(device)
        self.metric = vectors.metric
        self._rows = rows
        self._norms = norms

    @property
    def is_worn(self) -> bool:
        """See `Finder`: it has the rows that it was built with."""
        return True

    def find(self, queries: Floats, k: int, among: Mask | None) -> Rows | None:
        """See `Finder`."""
        import torch

        asked = torch.from_numpy(np.ascontiguousarray(queries)).to(self._rows.device)
        allowed = None if among is None else torch.from_numpy(among).to(self._rows.device)
        best, rows = [], []
        for start in range(0, len(self._rows), ROWS_AT_A_TIME):
            part = slice(start, start + ROWS_AT_A_TIME)
            keys = self._keys(asked, part)
            if allowed is not None:
                keys.masked_fill_(~allowed[part], torch.inf)
            found = torch.topk(keys, min(k, keys.shape[1]), largest=False)
            best.append(found.values)
            rows.append(found.indices + start)
        every, numbers = torch.cat(best, dim=1), torch.cat(rows, dim=1)
        kept = torch.topk(every, min(k, every.shape[1]), largest=False)
        chosen = torch.gather(numbers, 1, kept.indices)
        chosen = torch.where(torch.isfinite(kept.values), chosen, -1)
        return np.asarray(chosen.cpu().numpy(), np.intp)

    def _keys(self, queries: Any, part: slice) -> Any:
        """Return numbers in the order of the distances, as `_search` has them."""
        products = -queries @ self._rows[part].T
        if self.metric == "euclidean":
            return 2 * products + self._norms[part] ** 2
        if self.metric == "cosine":
            norms = self._norms[part]
            return products * (1 / norms.clamp_min(1e-38)).where(norms > 0, 0)
        return products

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        device = str(self._rows.device)
        return {**state, "_rows": self._rows.cpu(), "_norms": self._norms.cpu(), "device": device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        device = state.pop("device")
        self.__dict__.update(state)
        self._rows, self._norms = self._rows.to(device), self._norms.to(device)
