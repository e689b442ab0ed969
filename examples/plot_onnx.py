"""
Run without featx
=================

`featx.deployment.export_model` writes the network, and a trained model with it, as one ONNX file.
ONNX Runtime runs it in many languages, and in a browser.
"""

import json

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from PIL import Image

import featx
from featx.demo import sample_data_dir
from featx.deployment import export_model
from featx.tasks import train

store = featx.extract(sample_data_dir() / "scenes", "scenes.h5", progress=False)
training = train(store)
training.save("scenes.featx", store)
exported = export_model("scenes.featx", "scenes.onnx", check=store.paths[::12].tolist())
print(f"{exported.n_bytes / 2**20:.1f} MiB, differs by {exported.max_difference:.1g} at most")

# %%
# From here on, featx is not needed
# ---------------------------------
#
# Resizing is part of the file: it takes the pixels as they were decoded.

session = onnxruntime.InferenceSession("scenes.onnx")
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
_, axes = plt.subplots(1, 5, figsize=(8, 1.8), layout="constrained")
for axis, path in zip(axes, store.paths[5::17], strict=True):
    pixels = np.asarray(Image.open(path))[None]
    label, confidence = session.run(["label", "confidence"], {"image": pixels})
    axis.imshow(pixels[0])
    axis.set_title(f"{classes[label[0]]}, {confidence[0]:.2f}", fontsize=10)
    axis.set_axis_off()
