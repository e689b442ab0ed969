"""Search of n vectors beside peers: speed, recall, building, disk and memory, in one run.

    python benchmarks/search.py [--n 100000] [--n 1000000] [--d 512] [--queries 1000] [--rounds 3]
                                [--groups exact ivf hnsw] [--threads N] [--slow-builds] [--dry]

The 10 nearest by cosine. Each contender is written as a user of it writes it by hand, gets the
vectors as they are, and scales the queries itself where it must, inside the measured time.

Data: of class c the centre is A(g s) and a vector relu(centre + A'(h s)); g and h are standard
normal, s_i is proportional to 1 / sqrt(i) (feature i, mean square 1), A and A' are two random
rotations. 1,000 classes (at most one for 20 vectors) with log-normal weights (sigma 1). Half of
the values are 0, and a vector is about as far from its centre as centres are from the mean.
Queries are further draws, and are not in the database. Recall of IVF at nprobe 1 shows how hard
it is.

Effort: nprobe, efSearch and the like of peers are doubled, then bisected to the least that reaches
recall@10 0.95 on every other query; the other half judges. featx is fitted as it comes, which
includes its own tuning on its own rows ("as_fitted"), and then gets the same queries through
`tune`, which halves them in the same way but stops bisecting at an eighth. `build_seconds` of
featx includes the first tuning; `tune_seconds` is the second one, with the exact answers that it
computes. Peers get the exact answers for nothing. Graphs: 32 edges, 100 candidates while building;
an effort below 10 is 10 to them.

Speed: each contender is a process of its own that stays alive. In each round each of a group
answers all queries at once, then up to 200 one by one (at most 10 s; the median), while the others
wait; the order turns round every round. A ratio is taken to the reference, the peer of the same
algorithm and codes, within a round; the median of the rounds is printed, below 1 is slower.
OMP_WAIT_POLICY=PASSIVE and the number of threads are the same for all of them.

Memory: every contender reads the same memory map, as the user's own array, touched before it
begins. `peak_mib` is the highest resident memory until all queries were answered once, less what
is mapped from files (vectors, libraries). `imports_mib` is what Python, the imported libraries and
the queries take of it before the building, `held_mib` what the process has after it. `keeps_data`
says whether the user's array must stay besides: it must for scikit-learn and featx, but not for
featx in float16. The peak is VmHWM of /proc (Linux), not ru_maxrss, which a child inherits from
its parent.

Disk: one file, as the library saves it; that of featx has the vectors as well as the codes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

K = 10
TARGET = 0.95
CLASSES = 1000
BLOCK = 16384
SINGLES, SINGLES_SECONDS = 200, 10
DEGREE, BUILD_EFFORT = 32, 100
SLOW_BUILDS = 200_000  # rows up to which these are in by default
SLOW = ("hnswlib", "usearch")
PIP = {"sklearn": "scikit-learn", "faiss": "faiss-cpu"}
# Of each group: the reference, then all in the order of building.
GROUPS = {
    "exact": (
        "faiss flat",
        (
            "faiss flat",
            "numpy",
            "scikit-learn",
            "featx exact",
            "featx exact, copied",
            "featx exact float16",
        ),
    ),
    "ivf": (
        "faiss ivf float16",
        (
            "featx ivf",
            "faiss ivf float16",
            "faiss ivf float16, refined",
            "faiss ivf float32",
        ),
    ),
    "hnsw": ("faiss hnsw", ("featx hnsw", "faiss hnsw", *SLOW)),
}

# -- data -----------------------------------------------------------------------------------------


def mixture(d, n_classes):
    """Return what draws a block of vectors, by its number."""
    rng = np.random.default_rng(0)
    spectrum = 1 / np.sqrt(np.arange(1, d + 1))
    spectrum *= np.sqrt(d / (spectrum**2).sum())
    turns = [np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2)]
    of_centres, of_noise = (np.float32(spectrum[:, None] * turn) for turn in turns)
    centres = rng.standard_normal((n_classes, d), np.float32) @ of_centres
    weights = rng.lognormal(size=n_classes)

    def block(number, n):
        own = np.random.default_rng([1, number])
        label = own.choice(n_classes, n, p=weights / weights.sum())
        return np.maximum(centres[label] + own.standard_normal((n, d), np.float32) @ of_noise, 0)

    return block


def draw(folder, n, d, n_queries):
    """Write vectors, queries and the exact answers; hold a block."""
    block = mixture(d, min(CLASSES, max(1, n // 20)))
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n, d))
    for number, start in enumerate(range(0, n, BLOCK)):
        X[start : start + BLOCK] = block(number, min(BLOCK, n - start))
    X.flush()
    Q = block(-(-n // BLOCK), n_queries)
    np.save(folder / "Q.npy", Q)
    np.save(folder / "right.npy", exact_answers(X, Q))


def unit(X):
    """Scale to length 1, as one does by hand."""
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def exact_answers(X, Q):
    """Return the k nearest of each query: candidates in float32, their order in float64."""
    asked = unit(Q)
    best, rows = np.empty((len(Q), 0), np.float32), np.empty((len(Q), 0), np.int64)
    for start in range(0, len(X), BLOCK):
        products = asked @ unit(X[start : start + BLOCK]).T
        numbers = np.broadcast_to(start + np.arange(products.shape[1]), products.shape)
        best, rows = np.hstack([best, products]), np.hstack([rows, numbers])
        kept = np.argpartition(-best, 2 * K, axis=1)[:, : 2 * K]
        best, rows = np.take_along_axis(best, kept, 1), np.take_along_axis(rows, kept, 1)
    fine = np.stack(
        [unit(X[r].astype(np.float64)) @ q for r, q in zip(rows, Q.astype(float), strict=True)]
    )
    return np.take_along_axis(rows, np.argsort(-fine, axis=1)[:, :K], 1)


def recall(found, right):
    """Return the share of the right ones that was found."""
    return float((np.asarray(found)[:, :, None] == right[:, None, :]).any(axis=2).mean())


# -- contenders -----------------------------------------------------------------------------------


class Contender:
    """A library as one uses it by hand; without an effort it is exact."""

    modules = ("numpy",)
    keeps_data = False
    effort_name = None
    most_effort = 4096

    def __init__(self, args):
        self.args = args
        self.library, *_ = [importlib.import_module(name) for name in self.modules]

    def tune(self, Q, right):
        """Set the least effort that reaches the target on every other query."""

        def reaches(effort):
            self.set_effort(effort)
            return recall(self.ask(Q[::2]), right[::2]) >= TARGET

        low, high = 0, 1
        while high < self.most_effort and not reaches(high):
            low, high = high, min(2 * high, self.most_effort)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if reaches(middle) else (middle, high)
        self.set_effort(high)
        return high

    def notes(self, Q, right):
        """Return what else is worth knowing once it is built."""
        return {}


class Numpy(Contender):
    def build(self, X):
        self.X = unit(X)

    def ask(self, Q):
        step = max(1, 2**26 // (4 * len(self.X)))  # products of 64 MiB
        return np.vstack([self._ask(Q[i : i + step]) for i in range(0, len(Q), step)])

    def _ask(self, Q):
        distances = -unit(Q) @ self.X.T
        near = np.argpartition(distances, K, axis=1)[:, :K]
        order = np.argsort(np.take_along_axis(distances, near, 1), axis=1)
        return np.take_along_axis(near, order, 1)

    def save(self, path):
        with path.open("wb") as file:
            np.save(file, self.X)


class Sklearn(Contender):
    modules = ("sklearn.neighbors", "joblib")
    keeps_data = True

    def build(self, X):
        self.index = self.library.NearestNeighbors(
            n_neighbors=K, algorithm="brute", metric="cosine"
        ).fit(X)

    def ask(self, Q):
        return self.index.kneighbors(Q, return_distance=False)

    def save(self, path):
        importlib.import_module("joblib").dump(self.index, path)


class Faiss(Contender):
    modules = ("faiss",)
    factory = "Flat"

    def build(self, X):
        X, faiss = X.copy(), self.library
        faiss.normalize_L2(X)
        name = self.factory.format(lists=self.args.lists)
        self.index = faiss.index_factory(X.shape[1], name, faiss.METRIC_INNER_PRODUCT)
        self.prepare()
        self.index.train(X)
        self.index.add(X)

    def prepare(self):
        pass

    def ask(self, Q):
        return self.index.search(unit(Q), K)[1]

    def save(self, path):
        self.library.write_index(self.index, str(path))


class FaissIvf(Faiss):
    factory = "IVF{lists},SQfp16"
    effort_name = "nprobe"

    def prepare(self):
        self.most_effort = self.index.nlist

    def set_effort(self, effort):
        self.index.nprobe = effort

    def notes(self, Q, right):
        effort = self.index.nprobe
        self.index.nprobe = 1
        at_one = recall(self.ask(Q), right)
        self.index.nprobe = effort
        return {"lists": self.index.nlist, "recall_at_nprobe_1": round(at_one, 4)}


class FaissIvfFlat(FaissIvf):
    factory = "IVF{lists},Flat"


class FaissIvfRefined(FaissIvf):
    """Candidates from the codes, compared again with the vectors: what featx does."""

    factory = "IVF{lists},SQfp16,RFlat"

    def prepare(self):
        lists = self.library.extract_index_ivf(self.index)
        self.most_effort, self.lists = lists.nlist, lists
        self.index.k_factor = 1

    def set_effort(self, effort):
        self.lists.nprobe = effort

    def notes(self, Q, right):
        return {"lists": self.lists.nlist}


class FaissHnsw(Faiss):
    factory = f"HNSW{DEGREE},SQfp16"
    effort_name = "efSearch"

    def prepare(self):
        self.index.hnsw.efConstruction = BUILD_EFFORT

    def set_effort(self, effort):
        self.index.hnsw.efSearch = effort


class Hnswlib(Contender):
    modules = ("hnswlib",)
    effort_name = "ef"

    def build(self, X):
        self.index = self.library.Index("cosine", X.shape[1])
        self.index.init_index(len(X), M=DEGREE, ef_construction=BUILD_EFFORT)
        self.index.set_num_threads(self.args.threads)
        self.index.add_items(X)

    def set_effort(self, effort):
        self.index.set_ef(effort)

    def ask(self, Q):
        return self.index.knn_query(Q, K)[0].astype(np.int64)

    def save(self, path):
        self.index.save_index(str(path))


class Usearch(Contender):
    modules = ("usearch.index",)
    effort_name = "expansion_search"

    def build(self, X):
        self.index = self.library.Index(
            ndim=X.shape[1],
            metric="cos",
            dtype="f16",
            connectivity=DEGREE,
            expansion_add=BUILD_EFFORT,
        )
        self.index.add(np.arange(len(X)), X, threads=self.args.threads)

    def set_effort(self, effort):
        self.index.expansion_search = effort

    def ask(self, Q):
        return self.index.search(Q, K, threads=self.args.threads).keys.astype(np.int64)

    def save(self, path):
        self.index.save(str(path))


class Featx(Contender):
    modules = ("featx.retrieval",)
    keeps_data = True
    kind, codes, dtype = "exact", "auto", "float32"

    def build(self, X):
        self.index = self.library.RetrievalIndex(
            "cosine", kind=self.kind, codes=self.codes, dtype=self.dtype, target_recall=TARGET
        ).fit(X)

    def ask(self, Q):
        return self.index.query(Q, k=K).indices

    def save(self, path):
        self.index.save(path)


class FeatxCopy(Featx):
    """Holds a copy in memory, as faiss and numpy do here: the map has smaller pages."""

    keeps_data = False

    def build(self, X):
        super().build(np.array(X))


class FeatxHalf(Featx):
    keeps_data = False
    dtype = "float16"


class FeatxIvf(Featx):
    modules = ("featx.retrieval", "faiss")
    effort_name = "nprobe"
    kind, codes = "ivf", "float16"

    def tune(self, Q, right):
        self.as_fitted = {
            self.effort_name: self._effort(),
            "recall_, on its own rows": round(self.index.recall_.recall, 4),
            "recall": round(recall(self.ask(Q[1::2]), right[1::2]), 4),
        }
        self.index.tune(Q, target_recall=TARGET)
        return self._effort()

    def _effort(self):
        return self.index._vectors.finder.effort

    def notes(self, Q, right):
        return {
            "as_fitted": self.as_fitted,
            "recall_": round(self.index.recall_.recall, 4),
            "lists": self.index.kind_.n_lists,
        }


class FeatxHnsw(FeatxIvf):
    effort_name = "efSearch"
    kind = "hnsw"


CONTENDERS = {
    "numpy": Numpy,
    "scikit-learn": Sklearn,
    "faiss flat": Faiss,
    "faiss ivf float16": FaissIvf,
    "faiss ivf float16, refined": FaissIvfRefined,
    "faiss ivf float32": FaissIvfFlat,
    "faiss hnsw": FaissHnsw,
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "featx exact": Featx,
    "featx exact, copied": FeatxCopy,
    "featx exact float16": FeatxHalf,
    "featx ivf": FeatxIvf,
    "featx hnsw": FeatxHnsw,
}

# -- a contender's process ------------------------------------------------------------------------


def memory():
    """Return the highest and the present resident MiB, without what is mapped from files."""
    try:
        text = Path("/proc/self/status").read_text()
    except FileNotFoundError:  # not Linux
        return None, None
    peak, now, mapped = (
        int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) for name in ("VmHWM", "VmRSS", "RssFile")
    )
    return round((peak - mapped) / 1024, 1), round((now - mapped) / 1024, 1)


def seconds(work):
    """Return what the work returns, and the seconds it took."""
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start


def built(one, X, Q, right, folder):
    """Build, tune, ask once, save; return the figures."""
    X.max()  # touches every page
    _, imports = memory()
    _, build_seconds = seconds(lambda: one.build(X))
    figures = {"build_seconds": round(build_seconds, 2), "imports_mib": imports}
    if one.effort_name:
        effort, tune_seconds = seconds(lambda: one.tune(Q, right))
        figures |= {one.effort_name: effort, "tune_seconds": round(tune_seconds, 2)}
    judged = slice(1, None, 2) if one.effort_name else slice(None)
    figures["recall"] = round(recall(one.ask(Q)[judged], right[judged]), 4)
    figures |= one.notes(Q, right)
    figures["peak_mib"], figures["held_mib"] = memory()
    path = folder / "saved"
    one.save(path)
    figures["disk_bytes"] = path.stat().st_size
    path.unlink()
    return figures | {"keeps_data": one.keeps_data}


def asked(one, Q):
    """Return the seconds of all queries at once, and the median of those asked one by one."""
    _, batch = seconds(lambda: one.ask(Q))
    times, start = [], time.perf_counter()
    for i in range(min(SINGLES, len(Q))):
        times.append(seconds(lambda i=i: one.ask(Q[i : i + 1]))[1])
        if time.perf_counter() - start > SINGLES_SECONDS:
            break
    return {"batch": batch, "single": float(np.median(times))}


def contend(args):
    """Build, then answer each line of stdin by a line of JSON."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    X = np.asarray(np.load(args.folder / "X.npy", mmap_mode="r"))
    Q, right = (np.load(args.folder / f"{name}.npy") for name in ("Q", "right"))
    one = CONTENDERS[args.contender](args)
    print(json.dumps(built(one, X, Q, right, args.folder)), file=out, flush=True)
    for _ in sys.stdin:
        print(json.dumps(asked(one, Q)), file=out, flush=True)


# -- all of them ----------------------------------------------------------------------------------


class Child:
    """The process of a contender."""

    def __init__(self, name, folder, args, lists):
        threads = str(args.threads)
        same = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        of_child = ["--contender", name, "--folder", folder]
        of_child += ["--threads", threads, "--lists", str(lists)]
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, *of_child],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **same, "OMP_WAIT_POLICY": "PASSIVE"},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()

    def answer(self):
        """Return the next line, None where the process has ended."""
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def round(self):
        """Ask for a round."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("round\n")
            self.process.stdin.flush()
        return self.answer()


def lacking(name):
    """Return what must be installed for a contender, None where nothing."""
    for module in CONTENDERS[name].modules:
        package = module.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            return PIP.get(package, package)
    return None


def started(stack, names, folder, args):
    """Start and build one after the other; return the processes and their figures."""
    children, figures, lists = [], {}, args.lists
    for name in names:
        if (needed := lacking(name)) is not None:
            print(f"{name}: not installed: pip install {needed}")
            continue
        child = stack.enter_context(Child(name, folder, args, lists))
        answer = child.answer()
        if answer is None:
            print(f"{name}: ended with status {child.process.wait()} while it was built")
            continue
        print(f"  {name}: built in {answer['build_seconds']} s", flush=True)
        lists = answer.get("lists", lists)  # by hand the same number as featx chose
        children.append(child)
        figures[name] = answer
    return children, figures


def measured(group, folder, args, n):
    """Return the figures of a group."""
    reference, names = GROUPS[group]
    if n > SLOW_BUILDS and not args.slow_builds:
        left_out = [name for name in names if name in SLOW]
        names = [name for name in names if name not in SLOW]
        for name in left_out:
            print(f"{name}: left out at {n}; --slow-builds measures it")
    with contextlib.ExitStack() as stack:
        children, figures = started(stack, names, folder, args)
        rounds = [
            {child.name: child.round() for child in children[:: -1 if i % 2 else 1]}
            for i in range(args.rounds)
        ]
    for name in [name for name in figures if not all(one[name] for one in rounds)]:
        print(f"{name}: ended in a round")
        del figures[name]
    for name, figure in figures.items():
        for how, n_asked in (("batch", args.queries), ("single", 1)):
            times = [one[name][how] for one in rounds]
            figure[f"{how}_qps"] = round(n_asked / float(np.median(times)), 1)
            if reference in figures:
                figure[f"{how}_ratio"] = ratio(rounds, name, reference, how)
    losses = [line for name in figures if "featx" in name for line in lost(name, figures, rounds)]
    return {"reference": reference, "contenders": figures, "losses": losses}


def ratio(rounds, name, other, how):
    """Return how many times as fast as another, the median of the rounds."""
    return round(float(np.median([one[other][how] / one[name][how] for one in rounds])), 3)


def lost(name, figures, rounds):
    """Say in what, and by how much, featx is worse than each peer."""
    for other in figures:
        if "featx" in other:
            continue
        mine, theirs = figures[name], figures[other]
        speeds = {how: ratio(rounds, name, other, how) for how in ("batch", "single")}
        worse = [f"{how} queries {x} times as fast" for how, x in speeds.items() if x < 1]
        worse += [
            f"{what} {mine[what]} for {theirs[what]}"
            for what in ("build_seconds", "peak_mib", "held_mib", "disk_bytes")
            if (mine[what] or 0) > (theirs[what] or 0)
        ]
        if mine["recall"] < theirs["recall"]:
            worse.append(f"recall {mine['recall']} for {theirs['recall']}")
        if mine["keeps_data"] and not theirs["keeps_data"]:
            worse.append("needs the given array to stay")
        if worse:
            yield f"{name} beside {other}: {'; '.join(worse)}"


def show(group, found):
    """Print a line for each contender, and what featx loses."""
    print(
        f"\n{group + ', ratios to ' + found['reference']:32}  batch/s  ratio  single/s  ratio"
        "  recall  effort  build s  tune s  MiB: disk  imports    peak    held"
    )
    for name, f in found["contenders"].items():
        effort = f.get(CONTENDERS[name].effort_name, "")
        print(
            f"{name:32}{f['batch_qps']:9}{f.get('batch_ratio', ''):>7}{f['single_qps']:10}"
            f"{f.get('single_ratio', ''):>7}{f['recall']:8}{effort:>8}{f['build_seconds']:9}"
            f"{f.get('tune_seconds', ''):>8}{f['disk_bytes'] / 2**20:11.1f}"
            f"{f['imports_mib'] or '?':>9}{f['peak_mib'] or '?':>8}{f['held_mib'] or '?':>8}"
            f"{' + the given array' if f['keeps_data'] else ''}"
        )
        for note in ("recall_at_nprobe_1", "as_fitted"):
            if note in f:
                print(f"    {note}: {f[note]}")
    if any("featx" in name for name in found["contenders"]):
        print("lost:", *(found["losses"] or ["nothing"]), sep="\n  ")


def load_before():
    """Return the load of the machine, and say whether it spoils the times."""
    load = [round(one, 2) for one in os.getloadavg()]
    busy = "; it is busy: trust the ratios, not the times" if load[0] > 0.5 else ""
    print(f"load before the start {load} on {os.cpu_count()} cores{busy}")
    return load


def of_size(n, args, load):
    """Return the figures of a size."""
    print(f"\n{n} x {args.d}, {args.queries} queries, {args.threads} threads")
    figures = {"load_before": load, "threads": args.threads, "rounds": args.rounds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, n, args.d, args.queries)
        for group in args.groups:
            figures[group] = measured(group, folder, args, n)
            show(group, figures[group])
    return figures | {"versions": versions()}


def versions():
    """Return the versions of all that are installed."""
    names = ("featx", "numpy", "scikit-learn", "faiss-cpu", "hnswlib", "usearch")
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = version(name)
    return found


def main():
    """Run every size, or be one contender."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, action="append", help="vectors; may come several times")
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument(
        "--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
    )
    parser.add_argument(
        "--slow-builds", action="store_true", help=f"{' and '.join(SLOW)} at any size"
    )
    parser.add_argument("--dry", action="store_true", help="print, and keep nothing")
    parser.add_argument("--contender", choices=CONTENDERS, help="be this one's process")
    parser.add_argument("--folder", type=Path, help="of the contender's data")
    parser.add_argument("--lists", type=int, default=1024, help="of IVF, without featx")
    args = parser.parse_args()
    if args.contender:
        return contend(args)
    load = load_before()
    for n in args.n or [100_000]:
        figures = of_size(n, args, load)
        part = "" if set(args.groups) == set(GROUPS) else f", {' and '.join(args.groups)}"
        if not args.dry:
            from common import keep  # here, because it imports torch

            keep(f"search, n={n}, d={args.d}{part}", figures)
    return None


if __name__ == "__main__":
    main()
