"""Where the time of an extraction goes: each stage alone, all of them together, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featx._repr import OneLine, as_table, show_count
from featx.errors import require_count
from featx.extraction import Encoder, RunOptions
from featx.extraction.encoder import DEFAULT_BACKBONE
from featx.images import ImageManifest
from featx.tasks._stages import Stages

__all__ = ["Benchmark", "Stage", "Sweep", "benchmark"]

NEAR = 0.97  # of the best rate: a smaller setting that reaches it is as good


@dataclass(frozen=True)
class Stage:
    """One stage of an extraction, by itself.

    Parameters
    ----------
    name : {"decode", "network", "write"}
        Files to views by the reader processes; views to vectors; vectors to the disk.
    images_per_second : float
        With all cores, and nothing else to do.
    share : float
        Of the time that the stages take one after the other.
    idle : float
        Share of the time of the whole extraction in which this stage, at its own speed, would have
        nothing to do.
    """

    name: str
    images_per_second: float
    share: float
    idle: float


@dataclass(frozen=True)
class Sweep:
    """A setting's values and the speed at each.

    Parameters
    ----------
    setting : {"workers", "batch_size"}
        What was varied.
    values : tuple of int
    images_per_second : tuple of float
        Of whole extractions.
    best : int
        The smallest value within 3 % of the fastest.
    """

    setting: str
    values: tuple[int, ...]
    images_per_second: tuple[float, ...]
    best: int


@dataclass(frozen=True, repr=False)
class Benchmark(OneLine):
    """Speed of an extraction and of its stages; every rate is the median of the repeats.

    Parameters
    ----------
    stages : tuple of Stage
        In the order of the data.
    end_to_end : float
        Images per second of whole extractions, the start of the readers included.
    ceiling : float
        Images per second that the stages allow: where all of them share the processor's cores,
        1 / (1 / decode + 1 / network); with the network on another device, the slower of the two.
    ratio_to_ceiling : float
        `end_to_end` / `ceiling`.
    bottleneck : str
        Name of the stage that takes most.
    advice : tuple of str
        What would make it faster, most telling first.
    n_images : int
        Read in each repeat, taken evenly over the source.
    n_failed : int
        Of these, images that cannot be read.
    n_in_source : int
        Images of the source.
    file_bytes : float
        Mean size of the files read.
    backbone, device, precision, engine, engine_reason : str
        What ran.
    workers, batch_size, repeats : int
        As they were.
    sweeps : tuple of Sweep
        Empty unless asked for.
    """

    stages: tuple[Stage, ...]
    end_to_end: float
    ceiling: float
    ratio_to_ceiling: float
    bottleneck: str
    advice: tuple[str, ...]
    n_images: int
    n_failed: int
    n_in_source: int
    file_bytes: float
    backbone: str
    device: str
    precision: str
    engine: str
    engine_reason: str
    workers: int
    batch_size: int
    repeats: int
    sweeps: tuple[Sweep, ...] = ()

    @property
    def hours(self) -> float:
        """Time that the whole source would take at this speed, in hours."""
        return self.n_in_source / self.end_to_end / 3600

    def _repr_html_(self) -> str:
        """Show each stage and what would help in a notebook."""
        rows = [(s.name, f"{s.images_per_second:,.0f}", f"{s.share:.0%}", f"{s.idle:.0%}")
                for s in self.stages]  # fmt: skip
        rows.append(("whole extraction", f"{self.end_to_end:,.0f}", "", ""))
        caption = (
            f"Speed of {self.backbone} on {self.device}, {show_count(self.n_images, 'image')}"
        )
        head = ("stage", "images per second", "share of the time", "idle")
        return as_table(caption, rows, head=head, note="; ".join(self.advice))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serialisable dict, the rate of each stage by its name."""
        rates = {stage.name: stage.images_per_second for stage in self.stages}
        return {**asdict(self), **rates, "hours": self.hours}


def benchmark(
    source: Any,
    encoder: str | Encoder = DEFAULT_BACKBONE,
    run: RunOptions | None = None,
    *,
    n_images: int = 512,
    repeats: int = 3,
    sweep: bool = False,
) -> Benchmark:
    """Measure each stage of an extraction alone and all of them together, on your own images.

    Parameters
    ----------
    source : path, glob, CSV manifest, sequence of these, or ImageManifest
        As for `featx.extract`.
    encoder : str or Encoder, default "featx_base"
        A backbone's name, or an encoder. Of several layers and poolings all run,
        and the first is written.
    run : RunOptions, optional
        Device, engine, batch size, workers and progress.
    n_images : int, default 512
        Images that are read, evenly over the source. With more, the measurement takes longer and
        the start of the readers counts less, as in a long extraction.
    repeats : int, default 3
        Times that everything is measured; the stages take turns, and the first turn, which fills
        the system's cache of files, does not count.
    sweep : bool, default False
        Also extract with other numbers of workers and other batch sizes, each `repeats` times.

    Returns
    -------
    Benchmark

    Raises
    ------
    ManifestError
        If the source has no images, or none that can be read.
    ParameterError
        If a number is out of range.

    Notes
    -----
    Files are read from the system's cache where it has them; a disk that is slower than the
    figures here is a bottleneck of its own. Vectors are written to the folder for temporary files.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> for i in range(4):
    ...     Image.new("RGB", (64, 48), (60 * i, 0, 0)).save(folder / f"{i}.png")
    >>> found = benchmark(folder, run=RunOptions(progress=False), repeats=1)
    >>> [stage.name for stage in found.stages]
    ['decode', 'network', 'write']
    """
    require_count("n_images", n_images)
    require_count("repeats", repeats)
    manifest = ImageManifest.from_source(source).require_all()
    n = len(manifest)
    chosen = manifest.subset(np.unique(np.linspace(0, n - 1, min(n_images, n)).astype(int)))
    encoder = Encoder(encoder) if isinstance(encoder, str) else encoder
    stages = Stages(encoder, run or RunOptions(), chosen)
    rates = stages.measure(repeats)
    tried = stages.sweep(repeats) if sweep else {}
    whole = rates.pop("end_to_end")
    seconds = {name: 1 / rate for name, rate in rates.items()}
    network = stages.loaded.backbone
    parts = (seconds["decode"], seconds["network"])
    ceiling = 1 / (sum(parts) if network.device == "cpu" else max(parts))
    found = Benchmark(
        stages=tuple(
            Stage(name, rate, seconds[name] / sum(seconds.values()), max(0.0, 1 - whole / rate))
            for name, rate in rates.items()
        ),
        end_to_end=whole,
        ceiling=ceiling,
        ratio_to_ceiling=whole / ceiling,
        bottleneck=max(seconds, key=lambda name: seconds[name]),
        advice=(),
        n_images=len(chosen),
        n_failed=stages.n_failed,
        n_in_source=n,
        file_bytes=_mean_bytes(chosen.paths),
        backbone=network.name,
        device=network.device,
        precision=network.precision,
        engine=stages.engine.name,
        engine_reason=stages.engine.reason,
        workers=stages.workers,
        batch_size=stages.batch_size,
        repeats=repeats,
        sweeps=tuple(_sweep(setting, rates) for setting, rates in tried.items()),
    )
    return replace(found, advice=tuple(_advise(found)))


def _sweep(setting: str, rates: Mapping[int, float]) -> Sweep:
    most = max(rates.values())
    best = next(value for value, rate in rates.items() if rate >= NEAR * most)
    return Sweep(setting, tuple(rates), tuple(rates.values()), best)


def _mean_bytes(paths: Sequence[str]) -> float:
    """Return the mean size of those that are files."""
    sizes = [Path(path).stat().st_size for path in paths if Path(path).is_file()]
    return float(np.mean(sizes)) if sizes else 0.0


def _advise(found: Benchmark) -> Iterator[str]:
    """Say what would help, most telling first."""
    rates = {stage.name: stage.images_per_second for stage in found.stages}
    on_cpu = found.device == "cpu"
    if found.bottleneck == "network":
        if on_cpu and found.engine == "torch":
            yield f"the engine is torch: {found.engine_reason}"
        if on_cpu and found.precision == "float32":
            yield "precision float32: bfloat16 is faster where the processor computes it natively"
        yield (
            "the network takes most of the time: use a smaller one, fewer views"
            f"{' or a GPU' if on_cpu else ''}; featx compare shows the loss of accuracy"
        )
        if not on_cpu and found.engine == "torch":
            yield "engine compile: 1.5 to 1.7 times faster, after 15 to 20 s of compiling"
    elif found.bottleneck == "decode":
        yield (
            f"reading takes most of the time, at {found.file_bytes / 1e3:.0f} kB per file: more "
            "cores, or smaller copies of the images"
        )
        if not on_cpu:
            yield (
                f"the GPU could take {rates['network'] / rates['decode']:.1f} times as many images"
            )
    else:
        yield "writing takes most of the time: put the store on a faster disk"
    for sweep in found.sweeps:
        now = found.workers if sweep.setting == "workers" else found.batch_size
        rate = dict(zip(sweep.values, sweep.images_per_second, strict=True))
        if now in rate and rate[now] < NEAR * rate[sweep.best]:
            yield (
                f"{sweep.setting.replace('_', ' ')} {sweep.best} instead of {now}: "
                f"{rate[sweep.best] / rate[now]:.2f} times faster"
            )
