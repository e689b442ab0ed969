"""Damage files of every kind that featx reads, and see that reading them is safe.

For each input: a result, a `FeatxError`, or (an image) a reason for the failures table; within 10
seconds and 3 GiB more of memory. Another exception, a hang or a crash is a finding; its input is
kept in the folder that `--keep` names. Prints one line of JSON.

    python tests/faults/fuzz.py --runs 2000 --seed 0 [--only store model ...] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss  # noqa: F401 - so that its threads are limited too
import h5py
import numpy as np
import torch
from _forked import outcomes_of
from PIL import Image
from safetensors.torch import save_file
from threadpoolctl import threadpool_limits

from featx import ImageManifest, LinearProbeClassifier, RetrievalIndex
from featx.errors import FeatxError
from featx.images import ImagePreprocessor, read_image, read_labels
from featx.recipe import Preprocessing
from featx.store import open_store, verify_store, write_features

MORE_BYTES = 3 * 2**30
PREPROCESSOR = ImagePreprocessor(Preprocessing(resize_px=32, crop_px=24))
X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
Y = np.array(["a", "b", "c"] * 20)

# -- what is damaged, and how it is read ---------------------------------------------------------


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


# -- damage ---------------------------------------------------------------------------------------

ODD = (b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80")


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Damage bytes in one to four ways."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(max(len(out), 1))
        way = draw.randrange(7)
        if way == 0 and out:
            out[at] ^= 1 << draw.randrange(8)
        elif way == 1 and out:
            out[at] = draw.randrange(256)
        elif way == 2:  # a number that is too large, or none
            out[at : at + 4] = draw.choice(ODD)
        elif way == 3:
            out[at:at] = draw.randbytes(draw.randint(1, 16))
        elif way == 4:
            del out[at : at + draw.randint(1, 64)]
        elif way == 5:
            del out[at:]
        else:  # one part over another
            start = draw.randrange(max(len(out), 1))
            out[at : at + 32] = out[start : start + 32]
    return bytes(out)


def forged(data: bytes, draw: random.Random) -> bytes:
    """Put odd numbers into an index and make its checksums fit again, as a stranger might."""
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as h5:
        header = json.loads(h5["header"][:].tobytes())
        names = ["norms", "header"]
        names += [f"finder/{name}" for name in h5.get("finder", {})] * 3
        for _ in range(draw.randint(1, 3)):
            name = draw.choice(names)
            if name == "header":
                _forge_header(header, draw)
                continue
            values = h5[name][()]
            if not values.size:
                continue
            flat = values.reshape(-1)
            at, n = draw.randrange(flat.size), draw.choice((1, 1, 1, 50))
            odd = [
                0,
                1,
                -1,
                flat.size,
                flat.size + 1,
                2**31 - 1,
                -(2**31),
                2**62,
                draw.randrange(999),
            ]
            with np.errstate(all="ignore"):
                flat[at : at + n] = np.array(draw.choice(odd)).astype(values.dtype)
            h5[name][...] = values
            crc = zlib.crc32(np.ascontiguousarray(values).data)
            if name == "norms":
                header["norms_crc"] = crc
            else:
                with contextlib.suppress(TypeError, KeyError):  # forged before: no place for it
                    header["finder"]["crc"][name.removeprefix("finder/")] = crc
        text = json.dumps(header).encode("ascii")
        del h5["header"]
        h5["header"] = np.frombuffer(text, np.uint8)
        h5["header"].attrs["crc"] = zlib.crc32(text)
    return file.getvalue()


def _forge_header(header: dict[str, Any], draw: random.Random) -> None:
    odd = [None, -1, 0, 2**40, "x", [], {}, 0.5, ["a"] * 3]
    at, name = header, draw.choice(list(header))
    while isinstance(at[name], dict) and at[name] and draw.random() < 0.7:
        at, name = at[name], draw.choice(list(at[name]))
    at[name] = draw.choice(odd)


ODD_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**62, 0.5, float("nan"), float("inf"))
ODD_TYPES = ("<f8", "<f4", "<f2", "<i8", "<u1", "<U3", "<c8", "|b1")


def odd_array(values: np.ndarray, draw: random.Random) -> np.ndarray:
    """Return an array of odd values, another type, or another shape."""
    way = draw.randrange(6)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way == 0 and values.size:
            flat = values.reshape(-1).copy()
            number = draw.choice(ODD_NUMBERS)
            kind = values.dtype.kind
            if kind in "iu":
                number = 0 if number != number or abs(number) == float("inf") else int(number)
                limits = np.iinfo(values.dtype)
                number = min(max(number, limits.min), limits.max)
            flat[draw.randrange(flat.size)] = str(number)[:3] if kind in "US" else number
            return flat.reshape(values.shape)
        if way == 1:
            return (
                values.astype(draw.choice(ODD_TYPES)) if values.dtype.kind != "U" else values[:0]
            )
        if way == 2:
            return values[: draw.randrange(len(values) + 1)] if values.ndim else values[None]
        if way == 3:
            return np.concatenate([values, values]) if values.ndim else np.array([values, values])
        if way == 4:
            return values.reshape(-1)
        return np.zeros(draw.choice([(0,), (1,), (0, 0), (3, 2, 1), ()]), values.dtype)


def forged_model(data: bytes, draw: random.Random) -> bytes:
    """Put odd values into a model, with a seal that fits."""
    from featx.estimators._container import pack, unpack

    header, arrays = unpack(data)
    for _ in range(draw.randint(1, 3)):
        if draw.random() < 0.5 and arrays:
            name = draw.choice(sorted(arrays))
            way = draw.randrange(8)
            if way == 0:
                del arrays[name]
            elif way == 1:
                arrays[f"more{draw.randrange(9)}"] = arrays[name]
            else:
                arrays[name] = odd_array(arrays[name], draw)
        else:
            _forge_header(header, draw)
    return pack(header, arrays)


def forged_store(data: bytes, draw: random.Random) -> bytes:
    """Put odd numbers, types, shapes and attributes into a store; vectors keep fitting sums."""
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as h5:
        for _ in range(draw.randint(1, 3)):
            with contextlib.suppress(KeyError, ValueError, TypeError, OSError, RuntimeError):
                _forge_table(h5, h5["tables/outside"], draw)
        with contextlib.suppress(KeyError, ValueError, TypeError, OSError, RuntimeError):
            features = h5["tables/outside/features"]
            if features.ndim == 2 and features.shape[0] < 999:
                sums = [zlib.crc32(np.ascontiguousarray(row).data) for row in features[:]]
                del h5["tables/outside/features_crc"]
                h5["tables/outside/features_crc"] = np.array(sums, np.uint32)
    return file.getvalue()


def _forge_table(h5: Any, table: Any, draw: random.Random) -> None:
    name = draw.choice([*table, "attribute", "attribute"])
    if name == "attribute":
        where = draw.choice([h5, table])
        odd = [-1, 0, 2**62, b"", b"x" * 60000, b"{}", b"[" * 5000, 0.5, [1, 2], True]
        where.attrs[draw.choice([*where.attrs])] = draw.choice(odd)
    elif name == "metadata":
        table["metadata"].create_dataset(f"more{draw.randrange(9)}", data=np.arange(3))
    elif table[name].dtype.kind == "O" or draw.random() < 0.3:
        table[name].resize(draw.choice([0, 1, 59, 61, 2**33]), axis=0)
    elif table[name].shape[:1] < (999,):
        values = odd_array(table[name][:], draw)
        del table[name]
        table[name] = values.astype("S3") if values.dtype.kind == "U" else values


# What makes whole files, what damages one, what reads it.
KINDS: dict[str, tuple[Callable[..., list[bytes]], Callable[..., bytes], Callable[..., None]]] = {
    "image": (images, damaged, read_an_image),
    "table": (tables, damaged, read_a_table),
    "store": (stores, damaged, read_a_store),
    "model": (models, damaged, read_a_model),
    "index": (indexes, damaged, read_an_index),
    "forged index": (indexes, forged, read_an_index),
    "forged model": (models, forged_model, read_a_model),
    "forged store": (stores, forged_store, read_a_store),
    "weights": (weights, damaged, read_weights),
}

# -- running --------------------------------------------------------------------------------------


def run(kind: str, n: int, seed: int, keep: Path | None) -> dict[str, Any]:
    """Try each input in a child process; go on behind one that kills it."""
    make = KINDS[kind][0]
    findings: list[str] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="featx-fuzz-") as name:
        folder = Path(name)
        originals = make(folder)
        path = folder / ("damaged.csv" if kind == "table" else "damaged")

        def try_one(position: int) -> str:
            path.write_bytes(_input(originals, kind, seed, position))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    KINDS[kind][2](path)
                except FeatxError as err:
                    return f"more than one line: {err!r}" if "\n" in str(err) else "ok"
            return "ok"

        for position, outcome in enumerate(outcomes_of(n, try_one, _limit_memory)):
            if outcome != "ok":
                findings.append(f"{kind} {position}: {outcome}")
                if keep is not None:
                    keep.mkdir(exist_ok=True)
                    data = _input(originals, kind, seed, position)
                    (keep / f"{kind}-{seed}-{position}").write_bytes(data)
    return {
        "kind": kind,
        "runs": n,
        "seconds": round(time.monotonic() - begun, 1),
        "findings": findings,
    }


def _input(originals: list[bytes], kind: str, seed: int, position: int) -> bytes:
    draw = random.Random(f"{kind} {seed} {position}")
    return KINDS[kind][1](draw.choice(originals), draw)


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MORE_BYTES, used + MORE_BYTES))


def main() -> int:
    """Parse, run, print; 0 only if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    threadpool_limits(1)  # OpenMP's threads do not survive a fork
    results = [run(kind, args.runs, args.seed, args.keep) for kind in args.only]
    findings = [line for result in results for line in result["findings"]]
    total = {"runs": sum(r["runs"] for r in results), "findings": len(findings)}
    sys.stdout.write(json.dumps({**total, "kinds": results}) + "\n")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
