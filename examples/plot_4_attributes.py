"""
Several answers per image
=========================

Eight yes-or-no attributes of drawn creatures: striped, spotted, round, and so on.
"""

import matplotlib.pyplot as plt
import numpy as np

import featx
from featx.demo import sample_data_dir
from featx.evaluation import mean_over_attributes

# %%
# Read images and attributes from a CSV
# -------------------------------------
#
# It has a column ``path`` and a column of 0 and 1 for each attribute. Where an attribute is not
# known, the cell is empty.

source = sample_data_dir() / "attributes" / "attributes.csv"
store = featx.extract(source, "creatures.h5", progress=False)
names = list(store.metadata)
answers = np.column_stack([store.metadata[name].astype(float) for name in names])

# %%
# Train on every second image, test on the others
# -----------------------------------------------

features, train = store[:], np.arange(len(store)) % 2 == 0
model = featx.AttributeClassifier(attribute_names=names).fit(features[train], answers[train])
probabilities = model.predict_proba(features[~train])
precisions = mean_over_attributes(answers[~train], probabilities, average=None)
print(f"mean average precision: {precisions.mean():.2f}")

_, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
axis.barh(names, precisions)
axis.set_xlabel("average precision")
axis.set_xlim(0, 1)

# %%
# The images that are most certainly striped
# ------------------------------------------

paths = store.paths[~train]
surest = probabilities[:, names.index("striped")].argsort()[::-1][:6]
_, axes = plt.subplots(1, 6, figsize=(8, 1.8), layout="constrained")
for axis, row in zip(axes, surest, strict=True):
    axis.imshow(plt.imread(paths[row]))
    axis.set_title(f"{probabilities[row, names.index('striped')]:.2f}", fontsize=10)
    axis.set_axis_off()
