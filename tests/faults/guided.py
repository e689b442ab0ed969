"""Let coverage guide what featx's own parsers are given: libFuzzer, through atheris.

Where `fuzz.py` damages whole files, this looks for input that reaches a line that none has
reached before; checksums are made to fit, so that what lies behind them is reached. The same is
allowed: a result or the error that the parser promises, within 10 seconds and 4 GiB. A parser
stops at its first finding, whose input is kept in the folder that `--keep` names. Prints one line
of JSON.

    pip install atheris
    python tests/faults/guided.py --seconds 600 [--only model ...] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    atheris = None


def instrumented() -> contextlib.AbstractContextManager[Any]:
    """Let imports of featx be watched, where this is what is run."""
    if atheris is None or __name__ != "__main__":
        return contextlib.nullcontext()
    return atheris.instrument_imports(include=["featx"])


with contextlib.redirect_stderr(io.StringIO()), instrumented():
    import _files
    import h5py
    import numpy as np
    from _forked import tell

    import featx.backbones.weights  # noqa: F401 - which `_files` would import too late
    from featx.errors import FeatxError
    from featx.estimators import load_model
    from featx.files.archive import SEAL_BYTES
    from featx.recipe import Preprocessing, Recipe
    from featx.retrieval import RetrievalIndex
    from featx.serve._bodies import images_of
    from featx.serve._refusal import RefusalError
    from featx.store._chunks import _read_heap
    from featx.store._journal import Journal
    from featx.store._transaction import PatchedFile
    from pipelines.datasets._pickle import read_plain_pickle

HANG_S, MEMORY_MB = 10, 4096
Seeds = Callable[[Path], list[bytes]]
Parser = Callable[[bytes, Path], Any]

# -- parsers: what some whole inputs are, and what reads one --------------------------------------


def journals(folder: Path) -> list[bytes]:
    """Return journals without their checksums."""
    head = 8
    found = [
        data[head:][: int.from_bytes(data[:head], "little")] for data in _files.journals(folder)
    ]
    return [journal[:-32] for journal in found]


def read_a_journal(data: bytes, path: Path) -> None:
    """Read with a checksum that fits, and look through it."""
    journal = Journal.from_bytes(data + hashlib.sha256(data).digest())
    if journal is not None:
        with path.open("wb+", buffering=0) as file:
            file.write(bytes(9000))
            if journal.belongs_to(file):
                PatchedFile.with_journal(file, journal).read(5000)


def models(folder: Path) -> list[bytes]:
    """Return models without their seals."""
    return [data[:-SEAL_BYTES] for data in _files.models(folder)]


def read_a_model(data: bytes, path: Path) -> None:
    """Load with a seal that fits."""
    path.write_bytes(data + hashlib.sha256(data).hexdigest().encode())
    load_model(path)


def recipes(_: Path) -> list[bytes]:
    """Return a recipe."""
    recipe = Recipe(
        "resnet18", "0" * 64, "layer4", "gem(3)", Preprocessing(), "none", "float32", 8
    )
    return [json.dumps(recipe.to_dict()).encode()]


def read_a_recipe(data: bytes, _: Path) -> None:
    """Read, where it is JSON at all."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(fields, dict):
        _ = Recipe.from_dict(fields).fingerprint


def headers(folder: Path) -> list[bytes]:
    """Return headers of indexes."""
    found = []
    for data in _files.indexes(folder):
        with h5py.File(io.BytesIO(data), "r") as h5:
            found.append(h5["header"][:].tobytes())
    (folder / "template").write_bytes(_files.indexes(folder)[0])
    return found


def read_a_header(data: bytes, path: Path) -> None:
    """Load an index with this header."""
    shutil.copyfile(path.with_name("template"), path)
    with h5py.File(path, "r+") as h5:
        del h5["header"]
        h5["header"] = np.frombuffer(data, np.uint8)
        h5["header"].attrs["crc"] = zlib.crc32(data)
    RetrievalIndex.load(path).query(_files.X[:2], k=3)


def pickles(_: Path) -> list[bytes]:
    """Return ground truth as its authors write it."""
    truth = {"easy": np.arange(4), "imlist": ["a", "b"], "bbx": (1.5, 2.0), "n": np.int64(3)}
    return [pickle.dumps(truth, protocol) for protocol in (0, 2, 4)]


def heaps(_: Path) -> list[bytes]:
    """Return a heap of two texts."""
    objects = b"".join(
        i.to_bytes(2, "little") + bytes(6) + len(text).to_bytes(8, "little") + text.ljust(8, b"\0")
        for i, text in ((1, b"a.jpg"), (2, b"b.jpg"))
    )
    free = bytes(8) + (4096 - 16 - len(objects)).to_bytes(8, "little")
    return [b"GCOL\x01\0\0\0" + (4096).to_bytes(8, "little") + objects + free]


def read_a_heap(data: bytes, path: Path) -> None:
    """Read at the start of a file."""
    with path.open("wb+", buffering=0) as file:
        file.write(data.ljust(4096, b"\0"))
        _read_heap(PatchedFile(file, 4096), 0, 100)


def on_disk(read: Callable[[Path], None], suffix: str) -> Parser:
    """Return what reads a file's bytes from a file."""

    def read_bytes(data: bytes, path: Path) -> None:
        named = path.with_suffix(suffix)
        named.write_bytes(data)
        read(named)

    return read_bytes


PARSERS: dict[str, tuple[Seeds, Parser, tuple[type[Exception], ...]]] = {
    "journal": (journals, read_a_journal, ()),
    "model": (models, read_a_model, (FeatxError,)),
    "recipe": (recipes, read_a_recipe, (FeatxError,)),
    "header": (headers, read_a_header, (FeatxError,)),
    "pickle": (pickles, lambda data, _: read_plain_pickle(data), (pickle.UnpicklingError,)),
    "heap": (heaps, read_a_heap, (FeatxError,)),
    "body": (
        lambda _: [b'{"images": ["AAEC"]}'],
        lambda data, _: images_of(data, 1000),
        (RefusalError,),
    ),
    "table": (_files.tables, on_disk(_files.read_a_table, ".csv"), ()),
    "weights": (_files.weights, on_disk(_files.read_weights, ".x"), ()),
}

# -- running --------------------------------------------------------------------------------------


def fuzz(kind: str, folder: Path, options: list[str]) -> None:
    """Run one parser in this process, which ends with it."""
    make, read, allowed = PARSERS[kind]
    corpus = folder / "corpus"
    corpus.mkdir()
    for i, data in enumerate(make(folder)):
        (corpus / str(i)).write_bytes(data)

    def try_one(data: bytes) -> None:
        try:
            read(data, folder / "input")
        except allowed as err:
            if "\n" in str(err):
                raise AssertionError(f"more than one line: {err!r}") from err

    warnings.simplefilter("ignore")
    atheris.Setup([sys.argv[0], str(corpus), *options], try_one)
    atheris.Fuzz()


def run(kind: str, seconds: int, seed: int, keep: Path) -> dict[str, Any]:
    """Run one parser in a process of its own; return what it came to."""
    with tempfile.TemporaryDirectory(prefix="featx-guided-") as name:
        options = [
            f"-max_total_time={seconds}", f"-seed={seed + 1}", f"-timeout={HANG_S}",
            f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={keep}/{kind}-",
            "-print_final_stats=1",
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, __file__, "--child", kind, name, *options],
            capture_output=True,  # atheris says on stdout what was raised
            text=True,
            errors="replace",
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
    runs = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    edges = re.findall(r"cov: (\d+)", done.stderr)
    said = {
        "kind": kind,
        "runs": int(runs[-1]) if runs else 0,
        "edges": int(edges[-1]) if edges else 0,
        "seconds": seconds,
    }
    findings = (
        [] if done.returncode == 0 else [f"{kind}: {done.stdout[-2000:] or done.stderr[-2000:]}"]
    )
    return {**said, "findings": findings}


def main() -> int:
    """Parse, run, print; 0 only if nothing was found."""
    if atheris is None:
        sys.exit("guided.py needs atheris (Linux): pip install atheris")
    if sys.argv[1:2] == ["--child"]:
        fuzz(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each parser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=PARSERS, default=list(PARSERS))
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    args.keep.mkdir(exist_ok=True)
    results = [run(kind, args.seconds, args.seed, args.keep.resolve()) for kind in args.only]
    return tell(results)


if __name__ == "__main__":
    sys.exit(main())
