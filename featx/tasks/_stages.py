"""The stages of an extraction, run by themselves and together against the clock."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from featx._progress import Progress
from featx.errors import ManifestError
from featx.extraction import Encoder, RunOptions
from featx.extraction.into_store import fill_store
from featx.images import ImageManifest
from featx.images.loader import ImageBatch
from featx.store import StoreWriter

__all__ = ["Stages"]

Name = TypeVar("Name", str, int)
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
    """

    def __init__(self, encoder: Encoder, run: RunOptions, images: ImageManifest) -> None:
        self.encoder, self.run, self.images = encoder, run, images
        self.loaded = encoder.load(run)
        self.engine = self.loaded.choose_engine(len(images))
        self.batch_size, self.workers = self.loaded.batch_size, self.loaded.workers(images.paths)
        self.n_failed = 0
        self._held: list[ImageBatch] = []
        self._vectors = np.empty((0, 0), np.float32)

    def measure(self, repeats: int) -> dict[str, float]:
        """Return the median rate of each stage and of the whole, in images per second."""
        steps = {f.__name__: f for f in (self.decode, self.network, self.write, self.end_to_end)}
        warm_up = 1
        rates = self._take_turns(steps, repeats + warm_up, "bench")
        return {name: float(np.median(of_step[warm_up:])) for name, of_step in rates.items()}

    def sweep(self, repeats: int) -> dict[str, dict[int, float]]:
        """Extract with other numbers of workers and other batch sizes; return median rates."""
        plans = {
            "workers": sorted({0, 1, self.workers, 2 * self.workers}),
            "batch_size": [size for size in BATCH_SIZES if size <= len(self.images)],
        }
        medians = {}
        for setting, values in plans.items():
            steps = {value: partial(self.end_to_end, **{setting: value}) for value in values}
            rates = self._take_turns(steps, repeats, f"sweep {setting}")
            medians[setting] = {value: float(np.median(rates[value])) for value in values}
        return medians

    def _take_turns(
        self, steps: Mapping[Name, Callable[[], float]], repeats: int, title: str
    ) -> dict[Name, list[float]]:
        """Run all steps one after the other, `repeats` times, so that drift is shared."""
        rates: dict[Name, list[float]] = {name: [] for name in steps}
        total, enabled = repeats * len(steps), self.run.progress
        with Progress(total, title, unit="steps", enabled=enabled) as bar:
            for _ in range(repeats):
                for name, step in steps.items():
                    rates[name].append(step())
                    bar.advance(1)
        return rates

    def decode(self) -> float:
        """Read every image; hold the first batches for the network."""
        held, n_failed, n_held = [], 0, 0
        start = time.perf_counter()
        for batch in self.loaded.read(self.images.paths, engine=self.engine.name):
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
        found = net.stream(batches, reads, pad_to=self.batch_size, engine=self.engine.name)
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
            summary = fill_store(self.images, Path(folder) / "f.h5", self.encoder, run)
        if summary.interrupted:
            raise KeyboardInterrupt
        return len(self.images) / (summary.extracted / summary.images_per_second)
