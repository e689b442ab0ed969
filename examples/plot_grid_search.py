"""
A grid search from images on
============================

`FeatureExtractor` is a scikit-learn transformer: paths go in, vectors come out. So a grid search
can choose the layer together with the classifier.
"""

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

import featx
from featx.demo import sample_data_dir

images = featx.ImageManifest.from_source(sample_data_dir() / "fine_grained")
layers = ["blocks.6", "blocks.13", "penultimate"]

# %%
# Search
# ------
#
# With a cache, the network sees each image once, and all layers come from that one pass.

pipeline = Pipeline(
    [
        ("extract", featx.FeatureExtractor(cache="search.h5", cached_layers=layers)),
        ("classify", KNeighborsClassifier(1)),
    ]
)
grid = {
    "extract__layer": layers,
    "classify": [featx.LinearProbeClassifier(), KNeighborsClassifier(1)],
}
search = GridSearchCV(pipeline, grid, cv=3).fit(list(images.paths), list(images.labels))
print(search.best_params_, f"{search.best_score_:.2f}")

# %%
# All of it
# ---------

results = pd.DataFrame(search.cv_results_)
results["classifier"] = [type(c).__name__ for c in results["param_classify"]]
table = results.pivot(index="param_extract__layer", columns="classifier", values="mean_test_score")
_, axis = plt.subplots(layout="constrained")
table.loc[layers].plot(ax=axis, marker="o")
axis.set(xlabel="layer", ylabel="cross-validated accuracy")
