"""
Search again, and better
========================

A first search compares vectors. A re-ranking looks at its answers once more: at their neighbours,
or at the pictures themselves. Which helps depends on what is looked for.
"""

import matplotlib.pyplot as plt

import featx
from featx.demo import sample_data_dir
from featx.evaluation import average_precision_scores, relevance_from_labels

store = featx.extract(sample_data_dir() / "instances", "posters.h5", progress=False)
index = featx.RetrievalIndex().fit(store)
relevance = relevance_from_labels(store.labels)

# %%
# Every picture asks for the other views of its poster
# ----------------------------------------------------
#
# "aqe" and "k-reciprocal" trust the neighbours of the first answers. "spatial" compares local
# features of the pictures.

paths = store.paths.tolist()
scores = {}
for rerank in ("none", "aqe", "k-reciprocal", "spatial"):
    found = index.query(paths, k=len(store), rerank=rerank)
    precisions = average_precision_scores(found.indices, relevance.positives, junk=relevance.junk)
    scores[rerank] = precisions.mean()
_, axis = plt.subplots(figsize=(6, 2.4), layout="constrained")
axis.bar_label(axis.barh(list(scores), list(scores.values())), fmt="{:.2f}", padding=3)
axis.set(xlabel="mean average precision", xlim=(0, 1.1))
axis.invert_yaxis()

# %%
# One query, before and after
# ---------------------------
#
# Green frames show the poster that was asked for.

query = paths[1]
_, axes = plt.subplots(2, 6, figsize=(8, 2.7), layout="constrained")
for line, rerank in zip(axes, ("none", "spatial"), strict=True):
    found = index.query(query, k=6, rerank=rerank)
    for axis, path, label in zip(line, found.ids, found.labels, strict=True):
        axis.imshow(plt.imread(path))
        axis.set(xticks=[], yticks=[])
        color = "green" if label == found.labels[0] else "lightgrey"
        plt.setp(axis.spines.values(), linewidth=3, color=color)
    line[0].set_ylabel(rerank)
