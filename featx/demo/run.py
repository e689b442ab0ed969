"""Run the demonstration and write its report."""

from __future__ import annotations

import os
import time
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.demo.page import PIXELS, TITLE, Samples, make_page
from featx.demo.tasks import CLASSES, do_tasks
from featx.errors import StoreWriteError
from featx.extraction import Encoder, extract
from featx.extraction.encoder import DEFAULT_BACKBONE
from featx.files.outputs import check_output
from featx.images import ImageManifest, decode_image, sample_data_dir
from featx.store import open_store, store_info

__all__ = ["run_demo"]


def run_demo(
    out: str | os.PathLike[str],
    *,
    backbone: str = DEFAULT_BACKBONE,
    weights: str | os.PathLike[str] | None = "default",
    device: str = "auto",
    progress: bool | None = None,
) -> dict[str, Any]:
    """Do all five tasks on the sample images.

    Parameters
    ----------
    out : path
        Folder for ``features.h5`` and ``report.html``; made if absent. Files of these names are
        replaced if an earlier demo made them.
    backbone, weights, device, progress
        As for `featx.extract`.

    Returns
    -------
    dict
        "accuracy" (objects, 5 labels per class, mean of 10 splits), "map" (posters, each view once
        the query), "tasks" (each task's figure and the same for raw pixels), "backbone",
        "images", "seconds" and "report" (path).

    Raises
    ------
    ManifestError
        If the sample images are missing from the installation.
    StoreWriteError
        If `out` has such a file of other work, or cannot be written.
    WeightsError, BackboneError
        As `featx.extract`.
    """
    start = time.monotonic()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    root = sample_data_dir()
    sources = [root / name for name in (*CLASSES, "instances")]
    manifest = ImageManifest.from_source([*sources, root / "attributes" / "attributes.csv"])
    _check_folder(folder, manifest)
    encoder = Encoder(backbone, weights=weights)
    with extract(
        manifest, folder / "features.h5", encoder, device=device, progress=progress
    ) as store:
        order = {path: row for row, path in enumerate(store.paths.tolist())}
        features = store[[order[path] for path in manifest.paths]]
        tasks = np.array([Path(path).relative_to(root).parts[0] for path in manifest.paths])
        rows = {name: np.flatnonzero(tasks == name) for name in np.unique(tasks).tolist()}
        labels = np.array(manifest.labels)
        attributes = {
            name: np.array(column)[rows["attributes"]].astype(float)
            for name, column in manifest.columns.items()
        }
        found = do_tasks(features, labels, attributes, rows)
        pixels = do_tasks(np.stack([_pixels(p) for p in manifest.paths]), labels, attributes, rows)
        samples = Samples(np.array(manifest.paths), labels, features, rows)
        page = make_page(samples, found, pixels, store).save(folder / "report.html")
    of_pixels = pixels.figures()
    return {
        "accuracy": found.few["objects"].mean,
        "map": found.retrieval.mean,
        "tasks": {
            name: {measure: value, f"{measure}_pixels": of_pixels[name][1]}
            for name, (measure, value) in found.figures().items()
        },
        "backbone": backbone,
        "images": len(manifest),
        "seconds": time.monotonic() - start,
        "report": str(page),
    }


def _check_folder(folder: Path, manifest: ImageManifest) -> None:
    """Refuse a folder in which the demo's files are of other work: nobody named them."""
    page = check_output(folder / "report.html", "page")
    store = check_output(folder / "features.h5", "store")
    if page.is_file() and page.stat().st_size:
        with page.open("rb") as file:
            if f"<title>{TITLE}</title>".encode() not in file.read(4096):
                raise _other_work(page, "is the page of other work")
    if store.is_file() and store.stat().st_size:
        samples = {PurePath(path).parts[-2:] for path in manifest.paths}
        for table in store_info(store).tables:
            with open_store(store, table=table.key) as opened:
                for path in opened.paths.tolist():
                    if PurePath(path).parts[-2:] not in samples:
                        raise _other_work(store, f"holds {path!r}, which is no sample image")


def _other_work(path: Path, found: str) -> StoreWriteError:
    return StoreWriteError(
        f"{str(path)!r}: {found}, expected what an earlier demo made; choose another folder"
    )


def _pixels(path: str) -> NDArray[np.float32]:
    small = decode_image(path).resize((PIXELS, PIXELS), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1) / np.float32(255) - np.float32(0.5)
