"""
See why a label is wrong
========================

Where in the picture does the classifier see a class? Class activation maps answer exactly, since
the classifier is linear and the network averages its last map.
"""

import matplotlib.pyplot as plt
import numpy as np

import featx
from featx.demo import sample_data_dir
from featx.tasks import train

store = featx.extract(sample_data_dir() / "fine_grained", "butterflies.h5", progress=False)

# %%
# Train on every second image
# ---------------------------
#
# The others are judged. Of the mistakes, the surest are worth a look.

paths, labels = store.paths, np.asarray(store.labels)
training = train(store, {"path": paths[::2], "label": labels[::2]})
others = {"path": paths[1::2], "label": labels[1::2]}
judged = training.classifier.evaluate(store, others).predictions
wrong = np.flatnonzero(judged.y_true != judged.y_pred)
surest = wrong[np.argsort(-judged.scores[wrong].max(axis=1))][:3]
print(f"{len(wrong)} of {len(judged.paths)} are wrong")

# %%
# Lay both classes over the picture
# ---------------------------------
#
# Orange speaks for the class, blue against it. The map covers what the network saw.

wanted = {judged.paths[row]: [judged.y_true[row], judged.y_pred[row]] for row in surest.tolist()}
maps = training.classifier.draw_maps(wanted).by_path
_, axes = plt.subplots(len(wanted), 3, figsize=(6.6, 2.3 * len(wanted)), layout="constrained")
for line, (path, both) in zip(axes, maps.items(), strict=True):
    image = plt.imread(path)
    height, width = image.shape[:2]
    limit = max(np.abs(one.values).max() for one in both)
    titles = ["the picture", f"is {both[0].name}", f"guessed {both[1].name}"]
    for axis, title in zip(line, titles, strict=True):
        axis.imshow(image)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    for axis, one in zip(line[1:], both, strict=True):
        left, top, right, bottom = one.box
        axis.imshow(
            one.values,
            extent=(left * width, right * width, bottom * height, top * height),
            alpha=0.85 * np.abs(one.values) / limit,
            cmap="PuOr_r",
            vmin=-limit,
            vmax=limit,
            interpolation="bilinear",
        )
        axis.set(xlim=(0, width), ylim=(height, 0))
