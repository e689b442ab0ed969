"""How long featx takes to start: imports, the help, a query, a prediction, a server, a few images.

    python benchmarks/startup.py [--repeats 15] [--cpu]

Each is a fresh interpreter, medians of interleaved runs. `--cpu` counts processor time, of all
threads and children, in place of the clock's: for a machine that others use too. A query by
vector is asked of an index of 10,000 x 512 that is memory-mapped: what a program that only
searches pays. One image goes through the embedded network: in Python by torch; on the command
line by torch and by the graph that is kept (docs/deploy.md), asked of an index and a model of the
package's sample objects. A server is timed until it has answered its first picture.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from common import keep

from featx import RetrievalIndex
from featx.cli.main import main as featx
from featx.demo import sample_data_dir
from featx.store import write_features

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

HELP = "from featx.cli.main import main; raise SystemExit(main(['--help']))"
OBJECTS = sample_data_dir() / "objects"
N_IMAGES = (1, 10, 84)


def prepare(folder: Path) -> dict[str, list[str]]:
    """Return what is run, by name; makes what it reads, and the kept graph."""
    rng = np.random.default_rng(0)
    vectors, store, rows, index, model = (str(folder / name) for name in "vsrim")
    RetrievalIndex().fit(rng.standard_normal((10_000, 512), np.float32)).save(vectors)
    names = [f"{i}.jpg" for i in range(1000)]
    X = rng.standard_normal((1000, 1280), np.float32)
    write_features(rows, X, paths=names, labels=[str(i % 10) for i in range(1000)]).close()
    for words in (
        ["extract", str(OBJECTS), "--store", store],
        ["index", store, "--out", index],
        ["train", store, "--out", model],
    ):
        assert featx([*words, "--quiet"]) == 0
    image, *_ = images = sorted(map(str, OBJECTS.rglob("*.jpg")))
    out = str(folder / "out")
    commands = {
        "nothing": ["-c", ""],
        "import numpy": ["-c", "import numpy"],
        "import numpy, featx": ["-c", "import numpy, featx"],
        "import numpy, sklearn.base": ["-c", "import numpy, sklearn.base"],
        "import torch": ["-c", "import torch"],
        "featx --help": ["-c", HELP],
        "query of a saved index": ["-c", QUERY, vectors],
        "features of an image": ["-c", IMAGE, image],
        "featx query": ["-m", "featx", "query", index, image],
        "featx predict": ["-m", "featx", "predict", model, image],
        "featx serve": ["-m", "featx", "serve", index, "--port", "0", "--json"],
        "featx train, 1,000 rows": ["-m", "featx", "train", rows, "--out", out],
    }
    for n in N_IMAGES:
        name, words = f"featx extract, images: {n}", ["-m", "featx", "extract", *images[:n]]
        commands[name] = [*words, "--store", str(folder / "new.h5")]
    return commands


def run(words: list[str], graphs: str, by_cpu: bool) -> float:
    """Return how long it takes, in ms; a server until it has answered a picture."""
    environment = {**os.environ, "FEATX_GRAPHS": graphs}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as where featx is installed
    if "--store" in words:
        Path(words[-1]).unlink(missing_ok=True)
    before, start = os.times(), time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        if "serve" in words:
            url = json.loads(process.stdout.readline())["address"]
            request = urllib.request.Request(
                f"{url}api/query?k=1",
                min(OBJECTS.rglob("*.jpg")).read_bytes(),
                {"Content-Type": "image/jpeg"},
            )
            try:
                urllib.request.urlopen(request).read()
                took = time.perf_counter() - start
            finally:
                process.terminate()
        process.communicate()
    if "serve" not in words:
        took = time.perf_counter() - start
        assert process.returncode == 0, words
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    return 1000 * (cpu if by_cpu else took)


def main() -> None:
    """Print medians in ms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--cpu", action="store_true", help="processor time, of all threads")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        graphs = os.environ["FEATX_GRAPHS"] = str(Path(name) / "graphs")
        jobs = prepare(Path(name))
        pairs = [(what, "off") for what in jobs]
        pairs += [(what, graphs) for what in ("featx query", "featx predict", "featx serve")]
        times: dict[tuple[str, str], list[float]] = {pair: [] for pair in pairs}
        for i in range(args.repeats + 1):
            for what, where in pairs:
                took = run(jobs[what], where, args.cpu)
                if i:  # the first writes bytecode
                    times[what, where].append(took)
    unit = "CPU ms" if args.cpu else "ms"
    figures = {
        f"{what}{'' if where == 'off' else ', kept graph'}, {unit}": float(np.median(of))
        for (what, where), of in times.items()
    }
    both = zip(times["import numpy, featx", "off"], times["import numpy", "off"], strict=True)
    figures[f"featx beyond numpy, {unit}"] = float(np.median([a - b for a, b in both]))
    keep("start-up", figures)


if __name__ == "__main__":
    main()
