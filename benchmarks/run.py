"""Run every measurement and keep the figures of this machine in ``benchmarks/results``.

make bench

``large.py`` is not among them: it writes 30 GB.
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
    "throughput.py",
    "engines.py",
    "growth.py",
    "retrieval.py",
    "search.py",
    "serve.py",
)


def main():
    """Run the scripts one after the other; go on past one that fails, and say so at the end."""
    failed = [s for s in SCRIPTS if subprocess.run([sys.executable, HERE / s]).returncode]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
