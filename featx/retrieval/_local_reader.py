"""`LocalReader`: the local features of many images, and which images have none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._progress import Progress
from featx.errors import ImageDecodeError
from featx.images.loader import iter_batches
from featx.retrieval.descriptors import LocalDescriber, LocalFeatures

__all__ = ["LocalReader"]

READ_AT_ONCE = 64
NO_FEATURES = "has no local features: it is of one colour, or has hardly any pixels"


class LocalReader:
    """Describes images in reader processes, and counts those that cannot be.

    Parameters
    ----------
    describer : LocalDescriber
    sources : list
        As `as_sources` gives them.
    first : int, default 0
        Row of the first.
    keep_empty : bool, default False
        Give images without local features, too; then there may also be none.
    """

    def __init__(
        self,
        describer: LocalDescriber,
        sources: list[Any],
        *,
        first: int = 0,
        keep_empty: bool = False,
    ) -> None:
        self._describer = describer
        self._sources, self.first, self._keep_empty = sources, first, keep_empty
        self.rows: list[int] = []
        self.failures: list[tuple[int, str]] = []

    def read(self, order: NDArray[np.intp]) -> Iterator[LocalFeatures]:
        """Yield the features of the good ones; `rows` says which they are."""
        sources = [self._sources[i] for i in order]
        batches = iter_batches(sources, self._describer, batch_size=READ_AT_ONCE)
        with Progress(len(sources), "find local features") as progress:
            for batch in batches:
                self.failures += [(self.first + int(order[i]), why) for i, why in batch.failures]
                for position, *views in zip(batch.good.tolist(), *batch.views, strict=True):
                    row = self.first + int(order[position])
                    features = LocalFeatures(*views)
                    if len(features) or self._keep_empty:
                        self.rows.append(row)
                        yield features
                    else:
                        self.failures.append((row, NO_FEATURES))
                progress.advance(len(batch.rows))
        if not self.rows and not self._keep_empty:
            row, reason = self.failures[0]
            source = self._sources[row - self.first]
            name = f"{source!r}" if isinstance(source, str) else f"number {row}"
            raise ImageDecodeError(
                f"images: found local features in none of {len(self.failures)}, expected some in "
                f"one at least; the first is {name} ({reason}): check that the files are where "
                "their paths say, and that they show more than one colour"
            )
