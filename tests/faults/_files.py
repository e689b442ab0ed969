"""Whole files of every kind that featx reads, and what reads one."""

from __future__ import annotations

import contextlib
import io
import unittest.mock
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from featx import ImageManifest, LinearProbeClassifier, RetrievalIndex
from featx.errors import FeatxError
from featx.images import ImagePreprocessor
from featx.images.labels import read_labels
from featx.images.reader import read_image
from featx.recipe import Preprocessing
from featx.store import open_store, verify_store, write_features

PREPROCESSOR = ImagePreprocessor(Preprocessing(resize_px=32, crop_px=24))
X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
Y = np.array(["a", "b", "c"] * 20)


def images(folder: Path) -> list[bytes]:
    """Return a picture in each format."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    ways: list[tuple[str, dict[str, Any]]] = [
        ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {}),
        ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {}),
        ("TIFF", {"compression": "jpeg"}), ("TIFF", {"compression": "tiff_deflate"}),
    ]  # fmt: skip
    found = []
    for kind, options in ways:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        found.append(file.getvalue())
    return found


def read_an_image(path: Path) -> None:
    """Read as an extraction does."""
    image = read_image(str(path), PREPROCESSOR)
    if (image.views is None) == (image.error is None):
        raise AssertionError(f"views {image.views!r} with error {image.error!r}")


def tables(folder: Path) -> list[bytes]:
    """Return manifests as people write them."""
    rows = "".join(f"img/{i}.jpg,class {i % 3},{i}\n" for i in range(20))
    quoted = 'path,label\n"a ""b"".jpg","x, y"\nc.jpg,"two\nlines"\n'
    return [
        f"path,label,number\n{rows}".encode(),
        ("\ufeff" + f"path;label;number\n{rows.replace(',', ';')}").encode(),
        quoted.encode(),
        "path\tlabel\nä.jpg\tü\n".encode("utf-16"),
    ]


def read_a_table(path: Path) -> None:
    """Read as a manifest and as labels."""
    for read in (ImageManifest.from_source, read_labels):
        try:
            read(path)
        except FeatxError:
            continue


def stores(folder: Path) -> list[bytes]:
    """Return stores of both types."""
    found = []
    for dtype in ("float32", "float16"):
        path = folder / f"{dtype}.h5"
        write_features(
            path,
            X.astype(dtype),
            paths=[f"/p/{i}.jpg" for i in range(60)],
            labels=Y.tolist(),
            metadata={"who": [f"name {i}" for i in range(60)]},
        ).close()
        found.append(path.read_bytes())
    return found


def read_a_store(path: Path) -> None:
    """Read everything, and verify."""
    try:
        with open_store(path) as store:
            _ = store[:], store[[0, -1]] if len(store) else None
            _ = store.paths, store.labels, store.metadata, store.digests, store.failures
    except FeatxError:
        pass
    verify_store(path)


def write_a_store(path: Path) -> None:
    """Add rows, and change one that is there."""
    from featx.store import StoreWriter

    with StoreWriter(path) as writer:
        table = writer.table(None, has_labels=True)
        table.update([0], features=-X[:1])
        table.append(
            ["new.jpg"], X[:1], labels=["a"], digests=[""], sizes=[0], mtimes=[0],
            metadata={"who": ["nobody"]},
        )  # fmt: skip
    read_a_store(path)


def journals(folder: Path) -> list[bytes]:
    """Return journals of a commit that was cut short, each before the store that it stands by."""
    from featx.store import StoreWriter, _container, _transaction

    def refuse(*_: Any) -> None:
        raise OSError(5, "the disk is gone")

    path = folder / "journal.h5"
    write_features(path, X, paths=[f"/p/{i}.jpg" for i in range(60)]).close()
    writer = StoreWriter(path)
    writer.table(None, has_labels=False).update([0, 59], features=-X[[0, 59]])
    with (
        unittest.mock.patch.object(_transaction, "apply_journal", refuse),
        unittest.mock.patch.object(_container, "apply_journal", refuse),
    ):
        with contextlib.suppress(FeatxError):
            writer.commit()
        writer.close()
    journal = Path(f"{path}.journal").read_bytes()
    return [len(journal).to_bytes(8, "little") + journal + path.read_bytes()]


def read_a_journal(path: Path) -> None:
    """Read the store beside it as a reader does, and as a writer."""
    from featx.store import StoreWriter

    data = path.read_bytes()
    stop = 8 + int.from_bytes(data[:8], "little")
    store, journal = path.with_name("j.h5"), path.with_name("j.h5.journal")
    for read in (read_a_store, lambda store: StoreWriter(store).close()):
        store.write_bytes(data[stop:])
        journal.write_bytes(data[8:stop])
        try:
            read(store)
        except FeatxError:
            continue
        if store.stat().st_size > 2 * len(data):
            raise AssertionError(f"the store has {store.stat().st_size} bytes now")


def models(folder: Path) -> list[bytes]:
    """Return a model, and a pipeline of them."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from featx.estimators import save_model

    found = []
    for model in (
        LinearProbeClassifier(Cs=2).fit(X, Y),
        make_pipeline(StandardScaler(), LinearProbeClassifier(Cs=2)).fit(X, Y),
    ):
        save_model(model, folder / "m")
        found.append((folder / "m").read_bytes())
    return found


def read_a_model(path: Path) -> None:
    """Load, and ask it something."""
    from featx.estimators import load_model

    model = load_model(path).model
    try:
        model.predict(X[:3])
    except ValueError as err:  # scikit-learn's, of a scaler with forged numbers
        if not str(err).startswith("Input X contains"):
            raise


def indexes(folder: Path) -> list[bytes]:
    """Return an index of each kind."""
    many = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    found = []
    for options in (
        {"kind": "exact"}, {"kind": "exact", "dtype": "float16"}, {"kind": "ivf", "codes": "int8"},
        {"kind": "hnsw", "codes": "float32"}, {"kind": "ivf", "codes": "pq"},
    ):  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            RetrievalIndex(**options).fit(many, labels=["x"] * 400).save(folder / "i")
        found.append((folder / "i").read_bytes())
    return found


def read_an_index(path: Path) -> None:
    """Load, ask it something, and map it."""
    for mmap in (False, True):
        try:
            RetrievalIndex.load(path, mmap=mmap).query(X[:3], k=5)
        except FeatxError:
            continue


def weights(folder: Path) -> list[bytes]:
    """Return weights in both forms."""
    state = {"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(3), "n": torch.tensor(1)}
    save_file(state, folder / "w.safetensors")
    torch.save(state, folder / "w.pth")
    return [(folder / name).read_bytes() for name in ("w.safetensors", "w.pth")]


def read_weights(path: Path) -> None:
    """Read by content, under both names."""
    from featx.backbones.weights import read_state_dict

    data = path.read_bytes()
    for suffix in (".safetensors", ".pth"):
        named = path.with_suffix(suffix)
        named.write_bytes(data)
        try:
            read_state_dict(named)
        except FeatxError:
            continue
