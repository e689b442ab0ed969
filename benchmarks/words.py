"""Images found by words: mean average precision beside one example image, by set and network.

    python benchmarks/words.py [--out results.json] [--corpus STORE]

Each class of a set is asked by words through `RetrievalIndex.query`, over all images of the set.
`ALIGNED` says, for every class that is asked by another word than its own name, by which; a class
that is not asked has no name there. "words" is the answer; "vector" the plain neighbours of
`Encoder.encode_text`; "image" the neighbours of one example image, which is left out, the mean
over all images of the class; "both" the same with the words added; "chance" the share of the
class. "top-1" is the accuracy of taking the likeliest of the asked classes for each image of
these. With --corpus, a store of many other photographs, also what approximate indices miss.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from common import ASSETS, machine, need_assets
from sklearn.metrics import average_precision_score

import featx
from featx import Encoder, RetrievalIndex
from featx.backbones.words import imagenet_names
from featx.extraction.words import ask_words

NETWORKS = {
    "featx_base": Encoder(),
    "featx_small": Encoder("featx_small"),
    "mobilenet_v2": Encoder("mobilenet_v2", weights=ASSETS / "weights/mobilenet_v2.pth"),
    "squeezenet1_1": Encoder("squeezenet1_1", weights=ASSETS / "weights/squeezenet1_1.pth"),
    "tf_efficientnet_lite0": Encoder(
        "timm/tf_efficientnet_lite0", weights=ASSETS / "weights/tf_efficientnet_lite0.pth"
    ),
}
N_EXAMPLES = 5
# Where the class's own name is not the word. Parts of an animal are asked by the animal.
ALIGNED = {
    "caltech101": {
        "Leopards": "leopard", "Motorbikes": "moped", "airplanes": "airliner",
        "binocular": "binoculars", "cougar_body": "cougar", "cougar_face": "cougar",
        "flamingo_head": "flamingo", "rooster": "cock",
    },
    "caltech101, wider terms": {
        "Motorbikes": "motorcycle", "airplanes": "airplane", "brontosaurus": "dinosaur",
        "butterfly": "butterfly", "camera": "camera", "car_side": "car", "chair": "chair",
        "crab": "crab", "crocodile": "crocodile", "crocodile_head": "crocodile",
        "dolphin": "dolphin", "elephant": "elephant", "kangaroo": "kangaroo", "lamp": "lamp",
        "lobster": "lobster", "lotus": "flower", "stegosaurus": "dinosaur", "stop_sign": "sign",
        "sunflower": "flower", "watch": "watch", "water_lilly": "flower", "wild_cat": "wildcat",
        "windsor_chair": "chair",
    },
    "cats_dogs": {"cat": "cat", "dog": "dog"},
    "scene15": {"Coast": "seashore", "Mountain": "mountain", "Store": "shop"},
    "flowers12": {"daisy": "daisy"},
}  # fmt: skip


def words_of(name: str, classes: list[str]) -> dict[str, str]:
    """Return the word for each class that is asked: `ALIGNED`, and exact names of ImageNet."""
    words = dict(ALIGNED[name])
    if name == "caltech101":
        own = {n.casefold() for n in own_names()}
        for one in classes:
            plain = one.replace("_", " ").casefold()
            if plain in own:
                words.setdefault(one, plain)
    return words


def own_names() -> set[str]:
    """Return the names of the thousand classes themselves, without wider terms."""
    import timm

    info = timm.data.ImageNetInfo("imagenet-1k")
    return {n for d in info.label_descriptions(detailed=False) for n in d.split(", ")}


def precision(index: RetrievalIndex, is_match: np.ndarray, **asked: object) -> float:
    """Return the average precision of a query over all rows."""
    found = index.query(k=len(is_match), **asked)
    return float(average_precision_score(is_match[found.indices], -np.arange(len(is_match))))


def measure(index: RetrievalIndex, labels: np.ndarray, words: dict[str, str]) -> dict:
    """Return the row of a table."""
    X, found = index.vectors(), {"words": [], "vector": [], "image": [], "both": [], "chance": []}
    asked = {word: ask_words(word, index.recipe_, index.made_with_) for word in words.values()}
    for name, word in words.items():
        is_match = labels == name
        found["chance"].append(float(is_match.mean()))
        found["words"].append(precision(index, is_match, text=word))
        found["vector"].append(precision(index, is_match, X=asked[word].vectors()[0]))
        for kind, text in (("image", None), ("both", word)):
            scores = []
            for row in np.flatnonzero(is_match).tolist()[:N_EXAMPLES]:
                answer = index.query(X[row], k=len(labels), text=text).indices
                answer = answer[answer != row]
                scores.append(average_precision_score(is_match[answer], -np.arange(len(answer))))
            found[kind].append(float(np.mean(scores)))
    return {
        "classes": len(words),
        **{kind: float(np.mean(values)) for kind, values in found.items()},
        "top-1": _accuracy(X, labels, words, asked),
        "each": {name: found["words"][i] for i, name in enumerate(words)},
    }


def _accuracy(X: np.ndarray, labels: np.ndarray, words: dict[str, str], asked: dict) -> float:
    rows = np.isin(labels, list(words))
    names = list(words)
    distances = np.stack([asked[words[name]].distances(X[rows]) for name in names], axis=1)
    # classes that are asked by one word are one
    said = np.array([words[names[i]] for i in distances.argmin(axis=1)])
    return float((said == np.array([words[label] for label in labels[rows]])).mean())


def labels_of(store: featx.FeatureStore, name: str) -> np.ndarray:
    """Return class names, without the part of the set."""
    return np.array([str(label).rpartition("/")[2] for label in store.labels])


def approximate(corpus: Path) -> dict:
    """Return the share of the exact first 10 for every name of ImageNet that kinds find."""
    store = featx.open_store(corpus)
    names = sorted(set(imagenet_names().first))
    exact = RetrievalIndex().fit(store)
    first = [set(exact.query(text=name, k=10).indices.tolist()) for name in names]
    shares = {}
    for kind in ("ivf", "hnsw"):
        index = RetrievalIndex(kind=kind).fit(store)
        got = [set(index.query(text=name, k=10).indices.tolist()) for name in names]
        shares[kind] = float(np.mean([len(a & b) / 10 for a, b in zip(first, got, strict=True)]))
    return {"rows": len(store), "words": len(names), **shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    args = parser.parse_args()
    need_assets()
    tables: dict = {"machine": machine(), "sets": {}}
    kinds = ("words", "vector", "image", "both", "chance", "top-1")
    print(f"{'set':25}{'network':23}{'classes':>8}" + "".join(f"{k:>8}" for k in kinds))
    with tempfile.TemporaryDirectory() as folder:
        for network in args.networks.split(","):
            stores: dict[str, featx.FeatureStore] = {}
            for name in ALIGNED:
                folder_name = name.partition(",")[0]
                if folder_name not in stores:
                    path = os.path.join(folder, f"{network}-{folder_name}.h5")  # noqa: PTH118
                    source = ASSETS / "datasets" / folder_name
                    stores[folder_name] = featx.extract(source, path, NETWORKS[network])
                store = stores[folder_name]
                index, labels = RetrievalIndex().fit(store), labels_of(store, folder_name)
                row = measure(index, labels, words_of(name, sorted(set(labels.tolist()))))
                tables["sets"].setdefault(name, {})[network] = row
                print(
                    f"{name:25}{network:23}{row['classes']:8}"
                    + "".join(f"{row[kind]:8.3f}" for kind in kinds),
                    flush=True,
                )
    if args.corpus:
        tables["approximate"] = approximate(args.corpus)
        print(tables["approximate"])
    if args.out:
        args.out.write_text(json.dumps(tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
