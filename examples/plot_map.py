"""
A map of everything
===================

All sample images in a plane: what the network finds alike lies side by side. No label is used.
``featx map`` writes such a map as a page to zoom into.
"""

import matplotlib.pyplot as plt
import numpy as np

import featx
from featx.demo import sample_data_dir
from featx.mapping import project

# %%
# One table of two folders
# ------------------------

stores = [
    featx.extract(sample_data_dir() / name, f"{name}.h5", progress=False)
    for name in ("objects", "scenes")
]
features = np.vstack([store[:] for store in stores])
paths = np.concatenate([store.paths for store in stores])

# %%
# Lay them out
# ------------
#
# `project` is a t-SNE of the cosines, with settings that suit features. Neighbours mean much,
# distances between far groups little.

places = project(features)
places = (places - places.min(axis=0)) / np.ptp(places, axis=0)

_, axis = plt.subplots(figsize=(8, 7), layout="constrained")
half = 0.021
for path, (x, y) in zip(paths, places, strict=True):
    axis.imshow(plt.imread(path)[::2, ::2], extent=(x - half, x + half, y - half, y + half))
axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="auto")
axis.set_axis_off()
