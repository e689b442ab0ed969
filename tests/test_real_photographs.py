"""With real weights and photographs: the same features as torch, and what they buy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageOps

import featx
from featx import LinearProbeClassifier, RetrievalIndex
from featx.evaluation import mean_average_precision_score, relevance_from_labels

SETS = ("caltech101", "flowers12", "imagenet_samples", "scene15", "smvs_dvd")


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(float), b.astype(float)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture
def photographs(shared_assets: Path) -> list[str]:
    """Twenty-five photographs, evenly over five sets."""
    found = []
    for name in SETS:
        paths = featx.ImageManifest.from_source(shared_assets / "datasets" / name).paths
        found += [paths[i] for i in np.linspace(0, len(paths) - 1, 5).astype(int)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_features_equal_a_plain_torchvision_loop(
    name: str, photographs: list[str], shared_assets: Path, tmp_path: Path
) -> None:
    weights = shared_assets / "weights" / f"{name}.pth"
    module = torchvision.models.get_model(name, weights=None)
    module.load_state_dict(torch.load(weights, weights_only=True))
    module.classifier = torch.nn.Identity()
    transform = torchvision.models.get_model_weights(name).IMAGENET1K_V1.transforms()
    expected = []
    with torch.inference_mode():
        for path in photographs:
            image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
            x = module.eval()(transform(image)[None])
            expected.append(x.reshape(1, 512, -1).mean(2) if name == "squeezenet1_1" else x)
    options = {"backbone": name, "weights": weights, "device": "cpu"}
    for precision, decode, least in (
        ("float32", "full", 0.99999),
        ("float32", "reduced", 0.99),  # other pixels, where a JPEG is large
        ("bfloat16", "full", 0.98),  # 8 bits
    ):
        store = featx.extract(
            photographs, tmp_path / "f.h5", precision=precision, decode=decode, **options
        )
        assert cosines(store[:], torch.cat(expected).numpy()).min() >= least


@pytest.mark.slow
def test_the_embedded_network_serves_classification_and_retrieval(
    shared_assets: Path, tmp_path: Path
) -> None:
    """The floors lie well below what docs/featx_base.md measured, and far above chance."""
    folder = shared_assets / "datasets" / "flowers12"
    flowers = featx.extract([folder / "train", folder / "test"], tmp_path / "f.h5")
    X, species = flowers[:], flowers.labels
    train = np.array([Path(path).parent.parent.name == "train" for path in flowers.paths])
    probe = LinearProbeClassifier().fit(X[train], species[train])
    assert probe.score(X[~train], species[~train]) > 0.9  # chance 0.083
    rows = np.flatnonzero(~train)
    ranking = RetrievalIndex().fit(X[rows]).kneighbors(None, len(rows) - 1, return_distance=False)
    relevance = relevance_from_labels(species[rows])
    found = mean_average_precision_score(ranking, relevance.positives, junk=relevance.junk)
    assert found > 0.5
