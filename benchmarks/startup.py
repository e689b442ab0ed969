"""How long featx takes to start: an import, the help, a query on a saved index, one image.

    python benchmarks/startup.py [--repeats 15]

Each is a fresh interpreter, medians of interleaved runs. The query is a vector, asked of an index
of 10,000 x 512 that is memory-mapped: what a program that only searches pays. The image goes
through the embedded network: what an extraction of a few waits for, beside torch alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import keep

from featx import RetrievalIndex
from featx.demo import sample_data_dir

QUERY = """
import sys
import numpy as np
from featx import RetrievalIndex
index = RetrievalIndex.load(sys.argv[1], mmap=True)
index.query(np.ones(512, np.float32))
assert "torch" not in sys.modules
"""

IMAGE = """
import sys
import featx
featx.Encoder().encode(sys.argv[1:], device="cpu", workers=0)
"""


def main():
    """Print medians in ms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    help_words = "from featx.cli.main import main; raise SystemExit(main(['--help']))"
    with tempfile.TemporaryDirectory() as name:
        index = Path(name) / "index"
        X = np.random.default_rng(0).standard_normal((10_000, 512), np.float32)
        RetrievalIndex().fit(X).save(index)
        image = str(next((sample_data_dir() / "objects").rglob("*.jpg")))
        jobs = {
            "nothing": ["-c", ""],
            "import numpy": ["-c", "import numpy"],
            "import numpy, featx": ["-c", "import numpy, featx"],
            "import numpy, sklearn.base": ["-c", "import numpy, sklearn.base"],
            "featx --help": ["-c", help_words],
            "query of a saved index": ["-c", QUERY, str(index)],
            "import torch": ["-c", "import torch"],
            "features of an image": ["-c", IMAGE, image],
        }
        times: dict[str, list[float]] = {what: [] for what in jobs}
        for _ in range(args.repeats):
            for what, words in jobs.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *words], check=True, capture_output=True)
                times[what].append(1000 * (time.perf_counter() - start))
    figures = {f"{what}, ms": float(np.median(of)) for what, of in times.items()}
    pairs = zip(times["import numpy, featx"], times["import numpy"], strict=True)
    figures["featx beyond numpy, ms"] = float(np.median([a - b for a, b in pairs]))
    keep("start-up", figures)


if __name__ == "__main__":
    main()
