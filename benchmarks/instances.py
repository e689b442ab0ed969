"""One certain thing among many: what finds it, in how long, in how many bytes.

    python benchmarks/instances.py [--few] [--images 100000]

60 photographs of DVD covers by a phone ask for their cover (smvs_dvd), as they are and changed:
turned by any angle, in yellow light, cropped to half, shrunk to a third, beside photographs of
other covers, blurred and noisy, and all of it at once. The database is the 100 covers, and unless
--few is given those and 12,106 small photographs (shorter side 112 px), and, as harder company,
3,675 photographs of 224 to 500 px. Each query has one right answer: mAP is the mean of 1 / rank.

The bar is what a hundred lines of OpenCV do: SIFT of each pair of images compared by brute force,
ratio .8, homography by RANSAC; in seconds per query among the covers alone.

--images N builds an inverted file of N images' worth of descriptors instead, drawn around those of
the covers, and says seconds and bytes; only time and room are meant, not who is found.
"""

from __future__ import annotations

import argparse
import resource
import tarfile
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from common import ASSETS, keep, need_assets
from PIL import Image

import featx
from featx import RetrievalIndex
from featx.retrieval import InstanceIndex

COVERS = ASSETS / "datasets" / "smvs_dvd"
LARGER = ("caltech101", "scene15", "flowers12", "cats_dogs", "imagenet_samples")
BACKGROUND = (90, 100, 110)


def number_of(path):
    """Return a cover's number."""
    return int(Path(path).stem)


# -- what happens to a photograph -----------------------------------------------------------------


def turned(image, rng, degrees=(30, 330)):
    """Turn by some angle."""
    return image.rotate(rng.uniform(*degrees), Image.BICUBIC, expand=True, fillcolor=BACKGROUND)


def yellow(image, rng):
    """Put a lamp on one side."""
    low = np.array([0.85, 0.65, 0.3])
    colour = rng.uniform(low, [1, 0.8, 0.5]) * rng.uniform(0.6, 1)
    pixels = (np.asarray(image) / 255.0) ** rng.uniform(0.8, 1.5) * colour
    h, w, _ = pixels.shape
    y, x = np.mgrid[:h, :w]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = 1 + 0.7 * ((x / w - 0.5) * np.cos(angle) + (y / h - 0.5) * np.sin(angle))
    return Image.fromarray((255 * pixels * ramp[..., None]).clip(0, 255).astype(np.uint8))


def half(image, rng):
    """Keep half of its area."""
    w, h = (int(side / 2**0.5) for side in image.size)
    x, y = rng.integers(0, image.width - w), rng.integers(0, image.height - h)
    return image.crop((x, y, x + w, y + h))


def third(image, rng):
    """Shrink its sides to a third."""
    return image.resize((image.width // 3, image.height // 3), Image.BOX)


def beside(image, rng, others):
    """Put photographs of three other covers beside it, at half its size."""
    w, h = image.size
    canvas = Image.new("RGB", (w + w // 2, h + h // 2), (70, 80, 90))
    canvas.paste(image, (0, 0))
    for other, place in zip(others, [(w, 0), (w, h // 2), (w // 4, h)], strict=True):
        small = turned(Image.open(other).convert("RGB"), rng, (-15, 15))
        canvas.paste(small.resize((w // 2, h // 2)), place)
    return canvas


def noisy(image, rng):
    """Blur, add noise, and save as a poor JPEG."""
    pixels = cv2.GaussianBlur(np.asarray(image), (0, 0), rng.uniform(0.8, 1.6)).astype(float)
    pixels = (pixels + rng.normal(0, 8, pixels.shape)).clip(0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 35])
    return Image.fromarray(np.ascontiguousarray(cv2.imdecode(data, 1)[..., ::-1]))


def everything(image, rng, others):
    """Do all of it."""
    image = yellow(turned(beside(half(image, rng), rng, others), rng), rng)
    return noisy(image.resize((image.width * 3 // 5, image.height * 3 // 5), Image.BOX), rng)


CHANGES = {
    "as it is": lambda image, rng: image,
    "turned": turned,
    "yellow light": yellow,
    "half": half,
    "a third": third,
    "beside others": beside,
    "noise": noisy,
    "all": everything,
}


def changed_queries(name):
    """Return the 60 photographs, changed in the same way at every run."""
    paths, change = sorted((COVERS / "queries").iterdir()), CHANGES[name]
    found = []
    for path in paths:
        rng = np.random.default_rng([number_of(path), sorted(CHANGES).index(name)])
        others = [p for p in paths if p != path]
        more = (
            ([others[i] for i in rng.permutation(len(others))[:3]],)
            if change in (beside, everything)
            else ()
        )
        found.append(change(Image.open(path).convert("RGB"), rng, *more))
    return found, np.array([number_of(path) for path in paths])


# -- what finds it --------------------------------------------------------------------------------


def figures_of(ids, right, seconds):
    """Return top-1, mAP and seconds per query; `ids` are all rows, best first."""
    is_cover = np.char.find(ids.astype(str), f"{COVERS / 'reference'}") == 0
    numbers = np.full(ids.shape, -1)
    numbers[is_cover] = [number_of(path) for path in ids[is_cover].tolist()]
    ranks = (numbers == right[:, None]).argmax(axis=1) + 1
    return {
        "top-1": float(np.mean(ranks == 1)),
        "mAP": float(np.mean(1 / ranks)),
        "seconds per query": seconds / len(right),
    }


def ask(index, images, **options):
    """Return the ids of all rows, and seconds."""
    start = time.perf_counter()
    ids = [index.query(image, k=index.n_samples_fit_, **options).ids for image in images]
    return np.stack(ids), time.perf_counter() - start


def brute_force(images, right):
    """Compare each pair of images, as in a hundred lines of OpenCV."""
    sift, matcher = cv2.SIFT_create(), cv2.BFMatcher()
    covers = sorted((COVERS / "reference").iterdir())

    def describe(image):
        keypoints, values = sift.detectAndCompute(np.asarray(image.convert("L")), None)
        root = np.sqrt(values / np.maximum(values.sum(1, keepdims=True), 1e-9))
        return np.float32([k.pt for k in keypoints]), root

    database = [describe(Image.open(path)) for path in covers]
    start, ids = time.perf_counter(), []
    for image in images:
        places, values = describe(image)
        agreeing = []
        for others, cover in database:
            pairs = [
                (first.queryIdx, first.trainIdx)
                for first, second in matcher.knnMatch(values, cover, k=2)
                if first.distance < 0.8 * second.distance
            ]
            mine, theirs = np.array(pairs, int).reshape(-1, 2).T
            mask = None
            if len(mine) >= 4:
                _, mask = cv2.findHomography(places[mine], others[theirs], cv2.RANSAC, 8.0)
            agreeing.append(0 if mask is None else int(mask.sum()))
        order = np.argsort(-np.array(agreeing), kind="stable")
        ids.append([str(covers[i]) for i in order])
    return figures_of(np.array(ids), right, time.perf_counter() - start)


def false_alarms(index, right_of, images):
    """Return the share of queries that have a wrong image verified."""
    n = 0
    for image, number in zip(images, right_of, strict=True):
        found = index.query(image, k=5)
        wrong = [Path(p).stem != f"{number:03d}" for p in found.ids.tolist()]
        n += bool((found.inliers[wrong] > 0).any())
    return n / len(images)


def build(sources, folder):
    """Return an index of instances, and what it took."""
    start = time.perf_counter()
    index = InstanceIndex().fit(sources)
    seconds = time.perf_counter() - start
    index.save(folder / "instances")
    size = (folder / "instances").stat().st_size
    return index, {
        "images": index.n_samples_fit_,
        "local features": index.n_features_,
        "seconds to build, per image": seconds / len(sources),
        "KiB per image": size / index.n_samples_fit_ / 1024,
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def vector_index(sources, folder, name):
    """Return an exact index of the embedded network's features."""
    store = featx.extract(sources, folder / f"{name}.h5", progress=False)
    return RetrievalIndex().fit(store)


def measure(sources, folder, name, *, changes, spatial):
    """Print a table of one database."""
    instances, figures = build(sources, folder)
    vectors = vector_index(sources, folder, name)
    table = {"index": figures}
    for change in changes:
        images, right = changed_queries(change)
        ways = {
            "plain": (vectors, {}),
            "4 rotations": (vectors, {"rotations": 4}),
            "instances": (instances, {}),
        }
        if spatial:
            ways["spatial"] = (vectors, {"rerank": "spatial"})
        for way, (index, options) in ways.items():
            row = figures_of(*(lambda found: (found[0], right, found[1]))(
                ask(index, images, **options)
            ))  # fmt: skip
            table[f"{change}, {way}"] = row
            print(name, change, way, row, flush=True)
        table[f"{change}, instances"]["a wrong one verified"] = false_alarms(
            instances, right, images
        )
    keep(f"instances, {name}", table)


def stress(n_images):
    """Say what an inverted file of many images takes."""
    from featx.retrieval._votes import build_inverted_file
    from featx.retrieval.descriptors import LocalFeatures

    index = InstanceIndex()
    covers = index.describe([str(p) for p in sorted((COVERS / "reference").iterdir())]).features
    pool = np.concatenate([cover.descriptors for cover in covers])
    rng = np.random.default_rng(0)

    def images():
        for _ in range(n_images):
            chosen = pool[rng.integers(0, len(pool), 500)].astype(np.int16)
            noise = rng.integers(-24, 25, chosen.shape, np.int16)
            values = (chosen + noise).clip(0, 255).astype(np.uint8)
            yield LocalFeatures(
                values, rng.random((500, 2), np.float32), np.array([500, 500], np.int32)
            )

    start = time.perf_counter()
    inverted = build_inverted_file(images(), n_images, 0)
    seconds = time.perf_counter() - start
    queries = index.describe(changed_queries("as it is")[0][:10]).features
    start = time.perf_counter()
    for query in queries:
        votes = inverted.vote(query, None)
        for row in np.argsort(-votes.scores)[:100]:
            inverted.verify(query, votes, int(row))
    asked = (time.perf_counter() - start) / len(queries)
    arrays, codes = inverted.arrays()
    size = sum(array.nbytes for array in arrays.values()) + codes.size
    keep(f"instances, {n_images} drawn", {
        "local features": inverted.n_features,
        "lists": inverted.index.nlist,
        "seconds to build, without describing": seconds,
        "seconds per query, without describing": asked,
        "KiB per image": size / n_images / 1024,
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    })  # fmt: skip


def main():
    """Measure what is asked for."""
    need_assets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", action="store_true", help="the covers alone")
    parser.add_argument("--changes", nargs="+", default=list(CHANGES), choices=list(CHANGES))
    parser.add_argument("--no-bar", action="store_true", help="leave out the OpenCV script")
    parser.add_argument("--no-spatial", action="store_true", help="leave out rerank spatial")
    parser.add_argument("--images", type=int, help="build of so many images' descriptors instead")
    args = parser.parse_args()
    if args.images:
        stress(args.images)
        return
    covers = [str(p) for p in sorted((COVERS / "reference").iterdir())]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = {"changes": args.changes, "spatial": not args.no_spatial}
        measure(covers, folder, "100 covers", **options)
        if not args.no_bar:
            bar = {change: brute_force(*changed_queries(change)) for change in args.changes}
            keep("instances, OpenCV by brute force among 100 covers", bar)
        if args.few:
            return
        for shard in sorted((ASSETS / "corpus").glob("*.tar")):
            with tarfile.open(shard) as tar:
                tar.extractall(folder / "corpus", filter="data")
        small = [str(p) for p in sorted((folder / "corpus").rglob("*.jpg"))]
        options["spatial"] = False
        measure([*covers, *small], folder, f"{100 + len(small)} images", **options)
        larger = [ASSETS / "datasets" / one for one in LARGER]
        more = list(featx.ImageManifest.from_source(larger).paths)
        sources = [*covers, *small, *more]
        measure(sources, folder, f"{len(sources)} images, some larger", **options)


if __name__ == "__main__":
    main()
