"""The stages of an extraction, run by themselves and together against the clock."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from featx._progress import Progress
from featx.errors import ManifestError
from featx.extraction import Encoder, LoadedEncoder, RunOptions, fill_store
from featx.extraction.items import items_of_manifest
from featx.images import ImageBatch, ImageManifest
from featx.store import StoreWriter

__all__ = ["Stages"]

BATCH_SIZES = (1, 8, 16, 32, 64, 128, 256)
HELD = 256  # images that are held for the network alone: more say nothing new, and take memory


class Stages:
    """The stages of an extraction of some images.

    Parameters
    ----------
    encoder : Encoder
    run : RunOptions
        With the batch size and the number of workers that are measured.
    images : ImageManifest
    loaded : LoadedEncoder
        The encoder, loaded for `run`.
    engine : str
        What runs it.
    """

    def __init__(
        self,
        encoder: Encoder,
        run: RunOptions,
        images: ImageManifest,
        loaded: LoadedEncoder,
        engine: str,
    ) -> None:
        self.encoder, self.run, self.images = encoder, run, images
        self.loaded, self.engine = loaded, engine
        self.batch_size, self.workers = loaded.batch_size, loaded.workers(images.paths)
        self.n_failed = 0
        self._held: list[ImageBatch] = []
        self._vectors = np.empty((0, 0), np.float32)

    def measure(self, repeats: int, progress: bool | None) -> dict[str, float]:
        """Return the median rate of each stage and of the whole, in images a second."""
        steps: dict[str, Callable[[], float]] = {
            "decode": self.decode,
            "network": self.network,
            "write": self.write,
            "end_to_end": self.end_to_end,
        }
        found: dict[str, list[float]] = {name: [] for name in steps}
        with Progress((repeats + 1) * len(steps), "bench", unit="steps", enabled=progress) as bar:
            for repeat in range(repeats + 1):
                for name, step in steps.items():
                    rate = step()
                    if repeat:
                        found[name].append(rate)
                    bar.advance(1)
        return {name: float(np.median(rates)) for name, rates in found.items()}

    def sweeps(self, repeats: int, progress: bool | None) -> dict[str, dict[int, float]]:
        """Extract with other numbers of workers and other batch sizes; return median rates."""
        sizes = [size for size in BATCH_SIZES if size <= len(self.images)]
        plans: dict[str, list[int]] = {
            "workers": sorted({0, 1, self.workers, 2 * self.workers}),
            "batch_size": sizes,
        }
        found = {}
        total = repeats * sum(map(len, plans.values()))
        with Progress(total, "sweep", unit="steps", enabled=progress) as bar:
            for setting, values in plans.items():
                rates: dict[int, list[float]] = {value: [] for value in values}
                for _ in range(repeats):
                    for value in values:
                        rates[value].append(self.end_to_end(**{setting: value}))
                        bar.advance(1)
                found[setting] = {v: float(np.median(of_value)) for v, of_value in rates.items()}
        return found

    def decode(self) -> float:
        """Read every image; hold the first batches for the network."""
        held, n_failed, n_held = [], 0, 0
        start = time.perf_counter()
        for batch in self.loaded.read(self.images.paths, engine=self.engine):
            n_failed += len(batch.failures)
            if batch.views and n_held < max(HELD, 4 * self.batch_size):
                held.append(batch)
                n_held += len(batch.views[0])
        seconds = time.perf_counter() - start
        if not held:
            raise ManifestError(
                f"source: none of the {len(self.images)} images chosen can be read (the first, "
                f"{self.images.paths[0]!r}: {batch.failures[0][1]}), expected at least one"
            )
        self._held, self.n_failed = held, n_failed
        return len(self.images) / seconds

    def network(self) -> float:
        """Run the network over the batches held."""
        net = self.loaded.backbone
        reads = [(spec.layer, spec.pooling) for spec in self.loaded.specs]
        start = time.perf_counter()
        batches = ((i, batch.views) for i, batch in enumerate(self._held))
        found = net.stream(batches, reads, pad_to=self.batch_size, engine=self.engine)
        vectors = [of_reads[0] for _, of_reads in found]
        seconds = time.perf_counter() - start
        self._vectors = np.concatenate(vectors)
        return len(self._vectors) / seconds

    def write(self) -> float:
        """Write as many vectors as there are images, with one commit."""
        n, batch_size = len(self.images), self.batch_size
        vectors = np.resize(self._vectors, (n, self._vectors.shape[1]))
        with tempfile.TemporaryDirectory(prefix="featx-bench-") as folder:
            start = time.perf_counter()
            with StoreWriter(Path(folder) / "f.h5") as writer:
                table = writer.table(self.loaded.recipes[0], has_labels=False)
                for at in range(0, n, batch_size):
                    part = slice(at, min(at + batch_size, n))
                    zeros = [0] * (part.stop - at)
                    table.append(
                        self.images.paths[part],
                        vectors[part],
                        digests=["00" * 32] * len(zeros),
                        sizes=zeros,
                        mtimes=zeros,
                    )
                writer.commit()
            return n / (time.perf_counter() - start)

    def end_to_end(self, *, workers: int | None = None, batch_size: int | None = None) -> float:
        """Extract into a new store."""
        with tempfile.TemporaryDirectory(prefix="featx-bench-") as folder:
            run = dataclasses.replace(
                self.run,
                batch_size=self.batch_size if batch_size is None else batch_size,
                workers=self.workers if workers is None else workers,
                progress=False,
            )
            items = items_of_manifest(self.images)
            summary = fill_store(items, Path(folder) / "f.h5", self.encoder, run)
        if summary.interrupted:
            raise KeyboardInterrupt
        return len(self.images) / (summary.extracted / summary.images_per_second)
