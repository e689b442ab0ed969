"""What an extraction did, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featx._repr import OneLine

__all__ = ["ExtractionSummary"]


@dataclass(frozen=True, repr=False)
class ExtractionSummary(OneLine):
    """What an extraction did.

    Parameters
    ----------
    images : int
        Images in the source; `extracted` + `reused` + `failed`.
    extracted : int
        Images that went through the network; of exact copies the first.
    reused : int
        Images whose features were there already: the store held them, under this path or another,
        or an exact copy of the image went through the network before it in this call. Each has a
        row of its own.
    failed : int
        Images that cannot be read; each has a row in the store's failures table. So does each
        folder that cannot be listed, which counts here but not among `images`.
    pruned : int
        Images that were removed from the store because they are gone; 0 unless asked for.
    seconds : float
        Wall time of the whole call, loading the network included.
    images_per_second : float
        `extracted` over the time from the first read to the last commit; 0.0 if none.
    fingerprints : tuple of str
        One for each table that was written: layers times poolings, in the order asked for.
    elsewhere : int
        Rows of the first table whose images are not in the source: of other sources, or deleted
        and not pruned.
    device, precision, engine : str
        What was chosen, for example "cpu", "bfloat16", "openvino"; the engine is "none" where no
        image had to go through the network.
    engine_reason : str
        Why this engine.
    precision_reason : str
        Why this precision: of "auto", whether the machine or a table that existed decided.
    preprocessing, preprocessing_reason : str
        What images were made into, and why: how a weights file was recognised, or what was taken
        where it was not.
    waiting : int
        Images that other shards of this extraction have not done yet; the store is put together
        when none is left. 0 without shards.
    interrupted : bool
        True where Ctrl-C ended it early; what was finished is committed.
    ignored : dict of str to int
        Files of folders and globs that were not read, by suffix in lower case ("" for none).
    """

    images: int
    extracted: int
    reused: int
    failed: int
    pruned: int
    seconds: float
    images_per_second: float
    fingerprints: tuple[str, ...]
    elsewhere: int
    device: str
    precision: str
    engine: str
    engine_reason: str
    precision_reason: str = ""
    preprocessing: str = ""
    preprocessing_reason: str = ""
    waiting: int = 0
    interrupted: bool = False
    ignored: Mapping[str, int] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the first table."""
        return self.fingerprints[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serialisable dict."""
        fields = {
            **vars(self),
            "fingerprints": list(self.fingerprints),
            "ignored": dict(self.ignored),
        }
        return {**fields, "fingerprint": self.fingerprint}
