"""Damage files of every kind that featx reads, and see that reading them is safe.

For each input: a result, a `FeatxError`, or (an image) a reason for the failures table; within 10
seconds and 3 GiB more of memory. Another exception, a hang or a crash is a finding; its input is
kept in the folder that `--keep` names. Prints one line of JSON.

    python tests/faults/fuzz.py --runs 2000 --seed 0 [--only store model ...] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _damage
import _files
import _requests
import faiss  # noqa: F401 - so that its threads are limited too
from _forked import outcomes_of, tell
from threadpoolctl import threadpool_limits

from featx.errors import FeatxError

MORE_BYTES = 3 * 2**30

# What makes whole files, what damages one, what reads it.
KINDS: dict[str, tuple[Callable[..., list[bytes]], Callable[..., bytes], Callable[..., None]]] = {
    "image": (_files.images, _damage.damaged, _files.read_an_image),
    "table": (_files.tables, _damage.damaged, _files.read_a_table),
    "store": (_files.stores, _damage.damaged, _files.read_a_store),
    "model": (_files.models, _damage.damaged, _files.read_a_model),
    "index": (_files.indexes, _damage.damaged, _files.read_an_index),
    "forged index": (_files.indexes, _damage.forged, _files.read_an_index),
    "forged model": (_files.models, _damage.forged_model, _files.read_a_model),
    "forged store": (_files.stores, _damage.forged_store, _files.read_a_store),
    "written store": (_files.stores, _damage.damaged, _files.write_a_store),
    "written forged store": (_files.stores, _damage.forged_store, _files.write_a_store),
    "forged journal": (_files.journals, _damage.forged_journal, _files.read_a_journal),
    "request": (_requests.requests, _requests.damaged_request, _requests.answer),
    "weights": (_files.weights, _damage.damaged, _files.read_weights),
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
    return tell(results)


if __name__ == "__main__":
    sys.exit(main())
