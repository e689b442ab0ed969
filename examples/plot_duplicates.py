"""
Find copies of a picture
========================

Photographs are saved again, scaled, cropped and mirrored. Copies among training and test images
flatter every result. Their features give them away.
"""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageOps

import featx
from featx.demo import sample_data_dir
from featx.evaluation import duplicate_groups

store = featx.extract(sample_data_dir() / "objects", "objects.h5", progress=False)

# %%
# Make some copies
# ----------------

originals = [Image.open(store.paths[row]) for row in (3, 45, 98, 130)]
width, height = originals[0].size
changes = {
    "mirrored": ImageOps.mirror,
    "half the size": lambda image: image.resize((width // 2, height // 2)),
    "cropped": lambda image: image.crop((8, 8, width - 8, height - 8)),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
}
copies = [change(image) for image in originals for change in changes.values()]

# %%
# Group what shows the same
# -------------------------
#
# Rows whose features have a cosine of at least 0.95 get one number. A store from ``featx.extract``
# would hold the copies, too; here they are encoded in memory.

features = np.vstack([store[:], featx.Encoder().encode(copies)])
groups = duplicate_groups(features)
sizes = np.bincount(groups)
print(f"{len(groups)} images, {len(sizes)} different ones")

# %%
# Which copies were found?
# ------------------------
#
# Below each copy stands its cosine to the original, in red where it was missed.

rows = [3, 45, 98, 130]
of_copies = features[len(store) :].reshape(len(rows), len(changes), -1)
_, axes = plt.subplots(4, 5, figsize=(7, 6.4), layout="constrained")
for line, row, image, n in zip(axes, rows, originals, range(4), strict=True):
    line[0].imshow(image)
    line[0].set_title("original", fontsize=10)
    for axis, name, k in zip(line[1:], changes, range(4), strict=True):
        vector, copy = features[row], of_copies[n, k]
        cosine = vector @ copy / np.linalg.norm(vector) / np.linalg.norm(copy)
        is_found = groups[len(store) + 4 * n + k] == groups[row]
        axis.imshow(copies[4 * n + k])
        axis.set_title(f"{name}, {cosine:.2f}", fontsize=10, color="black" if is_found else "red")
    for axis in line:
        axis.set_axis_off()
