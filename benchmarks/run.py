"""Run every measurement, keep the figures of this machine in ``benchmarks/results``, draw a page.

make bench

``large.py`` is not among them: it writes 30 GB; nor is ``gpu.py``, which needs one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = (
    "startup.py",
    "storage.py",
    "equality.py",
    "probe.py",
    "linear_probe.py",
    "stages.py",
    "throughput.py",
    "engines.py",
    "peers.py --n 300",
    "peers.py --n 150 --network resnet50",
    "growth.py",
    "retrieval.py",
    "search.py",
    "serve.py",
    "databases.py --engines sqlite duckdb lancedb postgresql milvus",
    "page.py",
)


def main():
    """Run the scripts one after the other; go on past one that fails, and say so at the end."""
    failed = []
    for line in SCRIPTS:
        script, *words = line.split()
        if subprocess.run([sys.executable, HERE / script, *words]).returncode:
            failed.append(line)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
