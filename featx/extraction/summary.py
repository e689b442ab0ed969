"""What an extraction did, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from featx._repr import FieldTable

if TYPE_CHECKING:
    from featx.extraction.loaded import LoadedEncoder
    from featx.extraction.notes import NotedEncoder
    from featx.images import ImageManifest

__all__ = ["ExtractionSummary", "Tally"]

NOTHING_READ = "no image had to go through the network"


@dataclass
class Tally:
    """What an extraction has done so far, as `ExtractionSummary` has it.

    Parameters
    ----------
    read_s : float
        Seconds from the first read to the last commit.
    made_with : mapping
        What is noted of the engine; empty until something is read.
    """

    extracted: int = 0
    reused: int = 0
    pruned: int = 0
    interrupted: bool = False
    read_s: float = 0.0
    made_with: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class ExtractionSummary(FieldTable):
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

    @classmethod
    def of(
        cls,
        images: ImageManifest | None,
        encoder: LoadedEncoder | NotedEncoder,
        tally: Tally,
        **counts: Any,
    ) -> Self:
        """Return the figures of an extraction; without `images`, of one that had none to do."""
        recipes = encoder.recipes
        return cls(
            images=0 if images is None else len(images),
            extracted=tally.extracted,
            reused=tally.reused,
            pruned=tally.pruned,
            images_per_second=tally.extracted / tally.read_s if tally.read_s else 0.0,
            fingerprints=tuple(recipe.fingerprint for recipe in recipes),
            device=encoder.device,
            precision=recipes[0].precision,
            precision_reason=encoder.precision_reason,
            preprocessing=recipes[0].preprocessing.summary,
            preprocessing_reason=encoder.preprocessing_reason,
            engine=tally.made_with.get("engine", "none"),
            engine_reason=tally.made_with.get("engine_reason", NOTHING_READ),
            interrupted=tally.interrupted,
            ignored={} if images is None else images.ignored,
            **counts,
        )

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
