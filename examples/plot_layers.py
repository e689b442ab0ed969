"""
Which layer, which pooling?
===========================

Early layers see edges and colours, late ones things. Poolings make a vector of a layer's map. One
pass over the images gives all pairs; here they search for posters.
"""

import matplotlib.pyplot as plt
import numpy as np

import featx
from featx.demo import sample_data_dir
from featx.evaluation import average_precision_scores, relevance_from_labels

# %%
# One pass, twelve tables
# -----------------------

layers, poolings = ["blocks.3", "blocks.6", "blocks.10", "blocks.13"], ["avg", "gem(3)", "max"]
encoder = featx.Encoder(layers=layers, poolings=poolings)
store = featx.extract(sample_data_dir() / "instances", "posters.h5", encoder, progress=False)
print(f"{len(store.tables)} tables of {len(store)} images")

# %%
# Mean average precision of each
# ------------------------------
#
# Every image asks for the other views of its poster.


def mean_precision(table):
    """Return how well a table finds the other views of each poster."""
    _, rankings = featx.RetrievalIndex().fit(table).kneighbors(None, len(table) - 1)
    relevance = relevance_from_labels(table.labels)
    return average_precision_scores(rankings, relevance.positives, junk=relevance.junk).mean()


scores = np.array(
    [[mean_precision(store.select(layer=layer, pooling=p)) for p in poolings] for layer in layers]
)
_, axis = plt.subplots(figsize=(5, 4.5), layout="constrained")
axis.imshow(scores, cmap="viridis", aspect="auto")
axis.set_xticks(range(len(poolings)), poolings)
axis.set_yticks(range(len(layers)), layers)
for (i, j), score in np.ndenumerate(scores):
    axis.text(j, i, f"{score:.2f}", ha="center", color="w" if score < scores.mean() else "k")
