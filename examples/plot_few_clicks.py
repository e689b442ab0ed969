"""
Label with few clicks
=====================

Which images should be labelled first? Those that featx suggests teach a classifier more than
random ones do. Here the names of the folders answer in place of a person.
"""

import matplotlib.pyplot as plt
import numpy as np

import featx
from featx.demo import sample_data_dir

store = featx.extract(sample_data_dir() / "objects", "objects.h5", progress=False)
features, truth = store[:], np.asarray(store.labels)

# %%
# Five clicks, train, five more
# -----------------------------
#
# `suggest` takes the labels so far, "" where there is none, and returns the images that are worth
# the next clicks.


def label_and_train(strategy, n_rounds=8):
    """Return how many images have the right label after each round, by hand or by guess."""
    labels, shares = np.full(len(store), "", dtype=truth.dtype), []
    for _ in range(n_rounds):
        for suggestion in featx.suggest(store, labels.tolist(), n=5, strategy=strategy):
            labels[suggestion.row] = truth[suggestion.row]
        known = labels != ""
        classifier = featx.LinearProbeClassifier().fit(features[known], labels[known])
        shares.append(np.mean(classifier.predict(features)[~known] == truth[~known]))
    return shares


clicks = np.arange(5, 41, 5)
for strategy in ("auto", "random"):
    plt.plot(clicks, label_and_train(strategy), marker="o", label=strategy)
plt.xlabel("clicks")
plt.ylabel("other images with the right label")
plt.legend()

# %%
# The first ten that it suggests
# ------------------------------
#
# Ten classes, and nothing is known of them yet. The suggestions are typical images of groups.

_, axes = plt.subplots(2, 5, figsize=(7, 3.2), layout="constrained")
for axis, suggestion in zip(axes.flat, featx.suggest(store, n=10), strict=True):
    axis.imshow(plt.imread(suggestion.path))
    axis.set_title(truth[suggestion.row], fontsize=10)
    axis.set_axis_off()
