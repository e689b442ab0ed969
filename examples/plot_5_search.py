"""
What looks like this?
=====================

An index finds the nearest images. No label is needed.
"""

import featx
from featx.demo import sample_data_dir
from featx.evaluation import average_precision_scores, relevance_from_labels

store = featx.extract(sample_data_dir() / "instances", "posters.h5", progress=False)
index = featx.RetrievalIndex().fit(store)

# %%
# Ask with an image
# -----------------
#
# Each poster was seen four times: once from the front, else tilted, turned or half hidden. The
# distances stand above the pictures. The query itself is in the index, so it comes first.

queries = store.paths[[0, 16, 32]].tolist()
matches = index.query(queries, k=4)
figure = matches.plot()

# %%
# Measure it
# ----------
#
# Every image asks for the other views of its poster.

_, rankings = index.kneighbors(None, len(store) - 1)
relevance = relevance_from_labels(store.labels)
precisions = average_precision_scores(rankings, relevance.positives, junk=relevance.junk)
print(f"mean average precision: {precisions.mean():.2f}")
