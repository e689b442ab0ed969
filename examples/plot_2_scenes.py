"""
How many labels are enough?
===========================

Accuracy on six kinds of scenes, against the number of labelled images per class.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import featx
from featx.demo import sample_data_dir

store = featx.extract(sample_data_dir() / "scenes", "scenes.h5", progress=False)
features, labels = store[:], np.asarray(store.labels)

# %%
# Measure on ten random splits for each number of labels
# ------------------------------------------------------
#
# The features are there already, so that each split takes milliseconds.

n_labels = [1, 2, 3, 5, 8]
classifiers = {
    "linear probe": featx.LinearProbeClassifier(),
    "nearest neighbour": KNeighborsClassifier(1),
}
for name, classifier in classifiers.items():
    scores = np.array(
        [
            cross_val_score(
                classifier,
                features,
                labels,
                cv=StratifiedShuffleSplit(10, train_size=n * len(set(labels)), random_state=0),
            )
            for n in n_labels
        ]
    )
    plt.errorbar(n_labels, scores.mean(axis=1), scores.std(axis=1), label=name, capsize=3)
    print(f"{name}: {scores.mean(axis=1).round(2)}")
plt.xlabel("labelled images per class")
plt.ylabel("accuracy on the other images")
plt.legend()
