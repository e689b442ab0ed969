"""
Find images by words
====================

The network in the package knows ImageNet's thousand names and the wider terms above them. An
index is asked with such words, alone or beside an image. Nothing has to be labelled.
"""

import matplotlib.pyplot as plt

import featx
from featx.demo import sample_data_dir

store = featx.extract(sample_data_dir() / "objects", "objects.h5", progress=False)
index = featx.RetrievalIndex().fit(store)

# %%
# Ask with words
# --------------
#
# A wider term stands for all names below it: a goldfish is an animal. The numbers are distances, 0
# where the network is sure.


def show(rows):
    """Draw a row of pictures for each title."""
    _, axes = plt.subplots(len(rows), 6, figsize=(8, 1.5 * len(rows)), layout="constrained")
    for line, (title, matches) in zip(axes, rows.items(), strict=True):
        line[0].text(0.5, 0.5, title.replace(" ", "\n"), ha="center", va="center")
        for axis, path, distance in zip(line[1:], *matches, strict=True):
            axis.imshow(plt.imread(path))
            axis.set_title(f"{distance:.2f}", fontsize=10)
        for axis in line:
            axis.set_axis_off()


words = ["fruit", "furniture", "animal"]
show({text: index.query(text=text, k=5) for text in words})

# %%
# Take something away
# -------------------
#
# A word with a minus before it is to be absent: vehicles that are no boats.

show({text: index.query(text=text, k=5) for text in ["vehicle", "vehicle -boat"]})
