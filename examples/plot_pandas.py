"""
Features in a data frame
========================

Parquet carries paths, labels and vectors to pandas, DuckDB, Spark and others. Which classes does
the network find alike?
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import featx
from featx.demo import sample_data_dir
from featx.store import export_store

store = featx.extract(sample_data_dir() / "objects", "objects.h5", progress=False)
export_store(store.path, "objects.parquet")

# %%
# One row per image
# -----------------

frame = pd.read_parquet("objects.parquet")
frame[["label", "features"]].head()

# %%
# Mean vectors of the classes
# ---------------------------

vectors = pd.DataFrame(np.stack(frame["features"]), index=frame["label"])
vectors -= vectors.mean()
means = vectors.groupby(level=0).mean()
means = means.div(np.linalg.norm(means, axis=1), axis=0)
cosines = means @ means.T

_, axis = plt.subplots(figsize=(6.5, 5.5), layout="constrained")
image = axis.imshow(cosines, cmap="RdBu_r", vmin=-0.5, vmax=0.5)
axis.set_xticks(range(len(cosines)), cosines.columns, rotation=45, ha="right")
axis.set_yticks(range(len(cosines)), cosines.index)
axis.figure.colorbar(image, label="cosine of mean vectors")
