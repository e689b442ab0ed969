"""
Say "I do not know"
===================

A classifier answers for whatever it is shown. featx keeps beside a model what its training images
are like, so that it notices pictures of something else.
"""

import matplotlib.pyplot as plt
import numpy as np

import featx
from featx.demo import sample_data_dir
from featx.tasks import train

store = featx.extract(sample_data_dir() / "objects", "objects.h5", progress=False)
labels, features = np.asarray(store.labels), store[:]

# %%
# Train on eight of ten classes
# -----------------------------
#
# Every second image of them is kept for the test. Umbrellas and clocks are never shown.

is_strange = np.isin(labels, ["umbrella", "clock"])
train_rows = np.flatnonzero(~is_strange)[::2]
is_test = ~is_strange
is_test[train_rows] = False
training = train(store, {"path": store.paths[train_rows], "label": labels[train_rows]})
model = training.classifier.saved

# %%
# Ask about both kinds
# --------------------
#
# ``unknown`` is the share of the training images that are less novel than this one. From 0.95 on,
# an image is flagged, so that of known kinds about 5 % are.

familiar, strange = model.predict(features[is_test]), model.predict(features[is_strange])
bins = np.linspace(0, 1, 21)
_, axis = plt.subplots(figsize=(7, 3), layout="constrained")
names = ["classes it knows", "umbrellas and clocks"]
axis.hist([familiar.unknown, strange.unknown], bins, label=names)
axis.axvline(0.95, color="grey", linestyle="--")
axis.set(xlabel="unknown", ylabel="images")
axis.legend()
for name, answers in zip(names, (familiar, strange), strict=True):
    print(f"{name}: {answers.is_unknown.mean():.0%} flagged")

# %%
# What it would have answered
# ---------------------------
#
# Of the strangers, the three that look most familiar to it, and the three that look least so.

order = np.argsort(strange.unknown)
_, axes = plt.subplots(1, 6, figsize=(8, 1.9), layout="constrained")
for axis, row in zip(axes, [*order[:3], *order[-3:]], strict=True):
    axis.imshow(plt.imread(store.paths[is_strange][row]))
    verdict = "unknown" if strange.is_unknown[row] else strange.labels[row]
    axis.set_title(f"{verdict}\n{strange.unknown[row]:.2f}", fontsize=10)
    axis.set_axis_off()
