"""Run every fault script, and print what became of the rows: ``make faults``.

    python tests/faults/run.py [--seed 0] [--share 1.0]

`--share` makes all of it shorter or longer. The status is 0 only if no row was lost and nothing
else was found.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# what happens, script and options, option of the number of trials, that number
FAULTS = (
    ("writer killed at random", "store_kill.py", "--trials", 2000),
    ("writer killed at each step", "store_kill.py --mode steps", "--trials", 240),
    ("operations on the disk fail", "store_errors.py", "--trials", 3000),
    ("bits of a store flipped", "store_flip.py", "--flips", 5000),
    ("extraction killed", "extract_kill.py", "--trials", 200),
    ("save of model or index killed", "save_kill.py", "--trials", 100),
    ("labelling killed between strokes", "label_kill.py", "--trials", 500),
    ("server killed while adding", "serve_kill.py", "--trials", 20),
    ("sync to SQLite killed", "database_kill.py --engine sqlite", "--trials", 200),
    ("sync to DuckDB killed", "database_kill.py --engine duckdb", "--trials", 20),
    ("sync to LanceDB killed", "database_kill.py --engine lancedb", "--trials", 20),
    ("sync to Qdrant's local mode killed", "database_kill.py --engine qdrant", "--trials", 20),
    ("sync to Milvus Lite killed", "database_kill.py --engine milvus", "--trials", 20),
    ("sync to PostgreSQL killed", "database_kill.py --engine postgresql", "--trials", 20),
    ("damaged and forged files, requests", "fuzz.py", "--runs", 3000),
)
TRIALS = ("trials", "flips", "runs")
ROWS = ("committed_rows_checked", "rows_checked")
LOST = ("rows_lost", "wrong_rows", "rows_different", "not_opened")
FOUND = ("faults", "findings", "problems", "verify_problems", "tables_that_differ")


def size(value: Any) -> int:
    """Return a number, or how many there are."""
    return len(value) if isinstance(value, list) else int(value)


def total(said: dict[str, Any], names: tuple[str, ...]) -> int:
    """Add up what a script calls by one of these names."""
    return sum(size(said[name]) for name in names if name in said)


def _lines(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def main() -> int:
    """Run, print a table, return the status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0)
    args = parser.parse_args()
    is_bad = False
    row = "{:36}{:>8}{:>14}{:>6}{:>7}{:>9}\n"
    sys.stdout.write(row.format("", "trials", "rows checked", "lost", "other", "seconds"))
    for what, words, option, n in FAULTS:
        script, *options = words.split()
        trials = str(max(1, round(n * args.share)))
        start = time.monotonic()
        counts = [option, trials, "--seed", str(args.seed)]
        done = subprocess.run(
            [sys.executable, str(HERE / script), *options, *counts],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - start
        said = json.loads(done.stdout) if done.stdout else {"findings": ["it printed nothing"]}
        lost, found = total(said, LOST), total(said, FOUND)
        is_bad |= bool(lost or found or done.returncode)
        figures = (total(said, TRIALS), total(said, ROWS), lost, found, f"{seconds:.0f}")
        sys.stdout.write(row.format(what, *figures))
        sys.stdout.flush()
        parts = [said, *said["kinds"]] if isinstance(said.get("kinds"), list) else [said]
        for line in [x for part in parts for name in FOUND for x in _lines(part.get(name))]:
            sys.stdout.write(f"  {line}\n")
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
