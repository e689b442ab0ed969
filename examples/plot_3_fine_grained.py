"""
Tell things apart that look alike
=================================

Five species of butterflies differ in small parts: a wing band, eyes, ragged edges. Which layer of
the network tells them apart best?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import cross_val_score

import featx
from featx.demo import sample_data_dir

images = featx.ImageManifest.from_source(sample_data_dir() / "fine_grained")
species = sorted(set(images.labels))
_, axes = plt.subplots(1, len(species), figsize=(8, 2), layout="constrained")
for axis, name in zip(axes, species, strict=True):
    axis.imshow(plt.imread(images.paths[images.labels.index(name)]))
    axis.set_title(name, fontsize=10)
    axis.set_axis_off()

# %%
# Read several layers in one pass
# -------------------------------
#
# Each layer and pooling is a table of the store.

shapes = featx.load_backbone(featx.Encoder().backbone).layers
maps = [name for name, shape in shapes.items() if len(shape) == 4]
chosen = np.unique(np.linspace(0, len(maps) - 1, 6).astype(int))
encoder = featx.Encoder(layers=[maps[i] for i in chosen])
store = featx.extract(images, "butterflies.h5", encoder, progress=False)

# %%
# Compare the layers
# ------------------

accuracies = []
for layer in encoder.layers:
    table = store.select(layer=layer)
    scores = cross_val_score(
        featx.LinearProbeClassifier(), table[:], np.asarray(table.labels), cv=5
    )
    accuracies.append(scores.mean())
_, axis = plt.subplots(layout="constrained")
axis.plot(range(len(accuracies)), accuracies, marker="o")
axis.set_xticks(range(len(accuracies)), encoder.layers, rotation=45, ha="right")
axis.set_xlabel("layer, from the image to the end")
axis.set_ylabel("cross-validated accuracy")
