"""Flip single bytes of a store and see that none is ever read as if it were right.

For each flip, every value is read. Each must be what was written, or else a `FeatxError` must have
been raised; and where anything differs or cannot be read, `verify_store` must name a problem. A
crash of the interpreter or another exception counts as a fault. Prints one line of JSON.

    python tests/faults/store_flip.py --flips 20000
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from _forked import outcomes_of

from featx.errors import FeatxError
from featx.store import Failure, FeatureStore, StoreWriter, open_store, verify_store


def make_store(path: Path) -> None:
    """Write a small store that has one of everything."""
    with StoreWriter(path) as writer:
        for start in (0, 20):
            rows = range(start, start + 20)
            table = writer.table(None, has_labels=True, n_features=8, made_with={"engine": "x"})
            table.append(
                [f"/photos/{i}.jpg" for i in rows],
                np.sin(np.arange(20 * 8).reshape(20, 8) + start),
                digests=[f"{i + 1:064x}" for i in rows],
                sizes=list(rows),
                mtimes=list(rows),
                labels=[f"class {i % 3}" for i in rows],
                metadata={"photographer": [f"name {i}" for i in rows]},
            )
            writer.add_failures([Failure(f"/photos/bad {start}.jpg", "no image", "a" * 64, 3, 4)])
            writer.commit()


def values(store: FeatureStore) -> list[object]:
    """Return everything that the store says."""
    return [
        store.tables,
        store[:].tobytes(),
        store[[7, 3, 31]].tobytes(),
        store.paths.tolist(),
        None if store.labels is None else store.labels.tolist(),
        {name: column.tolist() for name, column in store.metadata.items()},
        store.digests.tolist(),
        store.failures,
        store.made_with,
    ]


def outcome_of(path: Path, expected: list[object]) -> str:
    """Read everything and say what came of it."""
    try:
        with open_store(path) as store:
            found = values(store)
    except FeatxError:
        found = None
    is_ok = verify_store(path).ok
    if found is None:
        return "missed by verify" if is_ok else "refused"
    if found != expected:
        return "SILENT"
    return "harmless" if is_ok else "found by verify"


def run(n_flips: int, seed: int) -> dict[str, object]:
    """Try each flip in a child process; go on behind one that kills it."""
    folder = Path(tempfile.mkdtemp(prefix="store_flip"))
    path = folder / "f.h5"
    make_store(path)
    original = path.read_bytes()
    flips = draw_flips(original, n_flips, seed)
    with open_store(path) as store:
        expected = values(store)

    def try_one(position: int) -> str:
        at, bits = flips[position]
        damaged = bytearray(original)
        damaged[at] ^= bits
        path.write_bytes(damaged)
        return outcome_of(path, expected)

    counts: dict[str, int] = {}
    faults: list[object] = []
    for flip, outcome in zip(flips, outcomes_of(len(flips), try_one), strict=True):
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome not in ("harmless", "refused", "found by verify"):
            faults.append((*flip, outcome))
    shutil.rmtree(folder)
    return {"flips": len(flips), "bytes": len(original), "outcomes": counts, "faults": faults}


def draw_flips(original: bytes, n: int, seed: int) -> list[tuple[int, int]]:
    """Draw (position, bit); two in three where a byte is not 0, which most unused ones are."""
    draw = random.Random(seed)
    used = np.flatnonzero(np.frombuffer(original, np.uint8)).tolist()
    return [
        (draw.choice(used) if draw.random() < 2 / 3 else draw.randrange(len(original)), 1 << bit)
        for bit in (draw.randrange(8) for _ in range(n))
    ]


def main() -> int:
    """Parse, run, print; 0 only if there was no fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    result = run(args.flips, args.seed)
    sys.stdout.write(json.dumps(result) + "\n")
    return int(bool(result["faults"]))


if __name__ == "__main__":
    sys.exit(main())
