"""
Classify a folder of images
===========================

Ten classes of objects, five labels for each, and a look at what goes wrong.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

import featx
from featx.demo import sample_data_dir

# %%
# Run the network over the images once
# ------------------------------------
#
# The features stay in a file. The label of an image is the folder that it lies in.

store = featx.extract(sample_data_dir() / "objects", "objects.h5", progress=False)
print(store)

# %%
# Train on five images per class
# ------------------------------
#
# A store is an array with paths and labels. `LinearProbeClassifier` is a scikit-learn classifier
# that chooses its own regularisation.

labels = np.asarray(store.labels)
train, test = train_test_split(
    np.arange(len(store)), train_size=50, stratify=labels, random_state=0
)
features = store[:]
classifier = featx.LinearProbeClassifier().fit(features[train], labels[train])
print(f"accuracy: {classifier.score(features[test], labels[test]):.2f}")

# %%
# Look at the confusions
# ----------------------

ConfusionMatrixDisplay.from_predictions(
    labels[test],
    classifier.predict(features[test]),
    xticks_rotation=45,
    colorbar=False,
    cmap="Blues",
)
plt.tight_layout()

# %%
# Look at the least certain images
# --------------------------------

probabilities = classifier.predict_proba(features[test])
least = probabilities.max(axis=1).argsort()[:5]
_, axes = plt.subplots(1, 5, figsize=(8, 2.2), layout="constrained")
for axis, row in zip(axes, least, strict=True):
    guess = classifier.classes_[probabilities[row].argmax()]
    axis.imshow(plt.imread(store.paths[test[row]]))
    axis.set_title(
        f"{guess}, {probabilities[row].max():.2f}\n(is {labels[test[row]]})", fontsize=10
    )
    axis.set_axis_off()
