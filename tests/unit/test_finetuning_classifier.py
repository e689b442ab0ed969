"""`FineTuneClassifier`: what trains and what does not, what it saves, what it says."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from featx import FeatureExtractor, LinearProbeClassifier, load_backbone
from featx.backbones import build_network
from featx.cli.main import main
from featx.errors import ImageDecodeError, ParameterError, StoreWriteError, WeightsError
from featx.finetuning import FineTuneClassifier
from featx.finetuning import _train as training

SMALL = {"resize_px": 40, "crop_px": 32, "device": "cpu", "progress": False}
QUICK = {**SMALL, "n_views": 2, "epochs": 2, "batch_size": 8, "learning_rate": 1e-3}


class Tiny(nn.Module):
    """Two convolutions with batch norm, in the way of a network of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)).mean((2, 3))


def tiny() -> Tiny:
    torch.manual_seed(3)
    return Tiny()


@pytest.fixture(scope="module")
def pictures():
    """Thirty noisy pictures of three colours, with their labels."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 200, (30, 40, 48, 3), np.uint8)
    y = np.array(["red", "green", "blue"])[np.arange(30) % 3]
    for i in range(30):
        X[i, ..., i % 3] = np.minimum(X[i, ..., i % 3] + 30, 255)
    return X, y


@pytest.fixture(scope="module")
def tuned(pictures) -> FineTuneClassifier:
    """A tuned network whose last epoch is kept."""
    options = {**QUICK, "train_from": "features.12", "validation_fraction": 0, "head": "probe"}
    return FineTuneClassifier("squeezenet1_1", weights=None, **options).fit(*pictures)


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in net.state_dict().items()}


def test_what_is_frozen_stays_bit_for_bit_and_the_rest_changes(pictures) -> None:
    own = tiny()
    before = state(own)
    clf = FineTuneClassifier(own, train_from="second", validation_fraction=0, **QUICK)
    clf.fit(*pictures)
    after = state(clf.network_)
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    # Kernel, offset, batch norm's scale and offset; not its running statistics.
    assert changed == {f"second.{k}" for k in ("0.weight", "0.bias", "1.weight", "1.bias")}
    assert all(torch.equal(before[k], v) for k, v in own.state_dict().items())
    assert clf.n_trained_parameters_ == 8 * 6 * 9 + 8 + 8 + 8
    assert (clf.train_from_, clf.strategy_, clf.uncut_) == ("second", "activations", None)


def test_before_training_it_predicts_what_the_probe_on_extracted_features_predicts(
    pictures, monkeypatch
) -> None:
    monkeypatch.setattr(training, "find_best", lambda _: 0)
    X, y = pictures
    # less noise and stronger colours, so that the last digits of the features decide nothing
    X = X // 4
    X[np.arange(30), ..., np.arange(30) % 3] += 150
    clf = FineTuneClassifier(**SMALL, epochs=1, n_views=1, random_state=4).fit(X, y)
    rows = np.setdiff1d(np.arange(30), clf.validation_rows_)
    extractor = FeatureExtractor(resize_px=40, crop_px=32, device="cpu", precision="float32")
    features = extractor.transform(X)
    seed = int(np.random.RandomState(4).randint(2**31 - 1))
    probe = LinearProbeClassifier(random_state=seed).fit(features[rows], y[rows])
    np.testing.assert_allclose(clf.predict_proba(X), probe.predict_proba(features), atol=1e-4)
    # The last digits of the features move flat directions of the objective, by thread count too.
    np.testing.assert_allclose(clf.probe_.coef_, probe.coef_, rtol=1e-2, atol=1e-3)
    held = clf.validation_rows_
    first = clf.history_[0]
    assert first.val_accuracy == pytest.approx(probe.score(features[held], y[held]))
    proba = probe.predict_proba(features[held])
    right = proba[np.arange(len(held)), np.searchsorted(probe.classes_, y[held])]
    assert first.val_loss == pytest.approx(-np.log(right).mean(), rel=1e-3)


def test_validation_is_stratified_and_never_trained_on(pictures) -> None:
    clf = FineTuneClassifier(tiny(), train_from="second", **QUICK).fit(*pictures)
    names, counts = np.unique(pictures[1][clf.validation_rows_], return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == dict.fromkeys(names, 2)
    X = pictures[0].copy()
    X[clf.validation_rows_] = 0
    other = FineTuneClassifier(tiny(), train_from="second", **QUICK).fit(X, pictures[1])
    assert [e.train_loss for e in other.history_[1:]] == [e.train_loss for e in clf.history_[1:]]


def test_early_stopping_restores_the_best_epoch(pictures, monkeypatch) -> None:
    """Epoch 1 of a scripted course is best: training ends after 3, with epoch 1's weights."""
    figures = [(0.9, 0.3), (0.5, 0.6), (0.6, 0.6), (0.4, 0.5), (0.1, 0.9)]
    seen: list[dict[str, torch.Tensor]] = []

    def scripted(model, pool):
        seen.append({**state(model.tunable.whole.module), **state(model.head)})
        return figures[len(seen) - 1]

    monkeypatch.setattr(training, "measure", scripted)
    monkeypatch.setattr("featx.finetuning._fit.measure", scripted)
    options = {**QUICK, "epochs": 4}
    clf = FineTuneClassifier(tiny(), train_from="second", patience=2, **options).fit(*pictures)
    assert clf.best_epoch_ == 1
    assert [e.epoch for e in clf.history_] == [0, 1, 2, 3]
    kept = {**state(clf.network_), **state(clf._fitted.head)}
    assert all(torch.equal(kept[k], v) for k, v in seen[1].items())
    assert not torch.equal(kept["second.0.weight"], seen[3]["second.0.weight"])


def test_the_same_seed_gives_the_same_weights_in_memory_or_not(pictures) -> None:
    """Would catch a result that depends on how much memory there is."""
    X, y = pictures
    options = {**QUICK, "train_from": "second", "validation_fraction": 0}
    first = FineTuneClassifier(tiny(), **options).fit(X, y)
    torch.rand(5)  # the global generator is not theirs
    again = clone(FineTuneClassifier(tiny(), **options)).fit(X, y)
    disk = FineTuneClassifier(tiny(), max_cache_bytes=10, **options).fit(X, y)
    assert (first.cache_, disk.cache_, disk.strategy_) == ("memory", "disk", "activations")
    with pytest.warns(UserWarning, match=r"90 views need \d+ bytes, got 10 in memory and 9 on"):
        anew = FineTuneClassifier(tiny(), max_cache_bytes=10, max_disk_bytes=9, **options).fit(
            X, y
        )
    other = FineTuneClassifier(tiny(), random_state=1, **options).fit(X, y)
    assert anew.strategy_ == "recomputed"
    for key, value in first.network_.state_dict().items():
        assert torch.equal(value, again.network_.state_dict()[key]), key
        assert torch.equal(value, disk.network_.state_dict()[key]), key
        assert torch.allclose(value.float(), anew.network_.state_dict()[key].float(), atol=1e-5)
    np.testing.assert_array_equal(first.predict_proba(X), again.predict_proba(X))
    weight = "second.0.weight"
    assert not torch.equal(
        first.network_.state_dict()[weight], other.network_.state_dict()[weight]
    )


def count_images(net: nn.Module, *names: str) -> dict[str, int]:
    """Count the images that some modules of a network, and of its copies, are run for."""
    counts = dict.fromkeys(names, 0)

    def note(name: str, inputs: tuple[torch.Tensor, ...]) -> None:
        if not isinstance(inputs[0], torch.fx.Proxy):
            counts[name] += len(inputs[0])

    for name in names:
        module = net.get_submodule(name)
        module.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs))
    return counts


def test_a_transformers_frozen_blocks_run_once_per_view_whatever_the_epochs(pictures) -> None:
    """Counted by hooks in the blocks themselves; would catch a prefix that runs in each epoch."""
    timm = pytest.importorskip("timm")
    X, y = pictures
    seen = []
    for epochs in (1, 3):
        torch.manual_seed(0)
        net = timm.models.VisionTransformer(
            img_size=32,
            patch_size=8,
            embed_dim=16,
            depth=12,
            num_heads=2,
            num_classes=0,
            dynamic_img_size=True,
        )
        counts = count_images(net, "patch_embed", "blocks.0", "blocks.9", "blocks.10")
        options = {**QUICK, "epochs": epochs, "patience": 9, "train_from": "blocks.10"}
        clf = FineTuneClassifier(net, **options).fit(X, y)
        assert (clf.strategy_, clf.cache_, clf.uncut_) == ("activations", "memory", None)
        # All 30 as extraction sees them, and two random views of the 24 that are trained on.
        assert clf.n_frozen_passes_ == 30 + 2 * 24
        assert {n.split(".")[1] for n in clf._fitted.network.module.state_dict()
                if "blocks" in n} == {str(i) for i in range(12)}  # fmt: skip
        seen.append(counts)
    frozen = ("patch_embed", "blocks.0", "blocks.9")
    assert [seen[1][n] - seen[0][n] for n in frozen] == [0, 0, 0]
    # A few more to size up the network and to compare its halves.
    assert 30 + 2 * 24 <= seen[0]["blocks.9"] <= 30 + 2 * 24 + 16
    # Two more epochs of two views of 24 images, and the six held out.
    assert seen[1]["blocks.10"] - seen[0]["blocks.10"] == 2 * (2 * 24 + 6)


class Chain(nn.Module):
    """Six convolutions in a row, stages to a sweep: trained from 3, 4 and 5."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(*(nn.Sequential(nn.Conv2d(3 if i == 0 else 6, 6, 3, 1, 1),
                                                  nn.ReLU()) for i in range(6)))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).mean((2, 3))


def test_each_depth_of_a_sweep_is_what_training_from_it_alone_gives(
    pictures, monkeypatch, capsys
) -> None:
    """Would catch weights that one depth leaves to the next, and a prefix run for each depth."""
    X, y = pictures
    net = Chain()
    counts = count_images(net, "body.0", "body.3", "body.4")
    monkeypatch.setattr("featx._progress.LINE_EVERY_S", 0)
    shown = {**QUICK, "progress": None}
    swept = FineTuneClassifier(net, train_from="auto", **shown).fit(X, y)
    said = [line.split(" ", 1)[1].split(":")[0] for line in capsys.readouterr().err.splitlines()]
    for label in ("from body.3 (1 of 3)", "from body.4 (2 of 3)", "from body.5 (3 of 3)"):
        assert f"finetune {label}" in said
    assert [d.train_from for d in swept.depths_] == [None, "body.5", "body.4", "body.3"]
    assert swept.n_frozen_passes_ == 30 + 2 * 24
    assert counts["body.0"] <= 30 + 2 * 24 + 30
    for depth in swept.depths_[1:]:
        alone = FineTuneClassifier(Chain(), train_from=depth.train_from, **QUICK).fit(X, y)
        (_, found) = alone.depths_
        assert found.n_trained_parameters == depth.n_trained_parameters
        assert (found.epochs, found.best_epoch) == (depth.epochs, depth.best_epoch)
        assert found.val_loss == pytest.approx(depth.val_loss, rel=1e-4)
        if depth.train_from == swept.train_from_:
            for key, value in alone.network_.state_dict().items():
                assert torch.allclose(value, swept.network_.state_dict()[key], atol=1e-5), key
    best = max(swept.depths_, key=lambda d: (d.val_accuracy, -d.val_loss))
    assert (swept.train_from_, swept.best_epoch_) == (best.train_from, best.best_epoch)


def test_a_sweep_that_only_hurts_keeps_the_probe_and_the_original_network(pictures) -> None:
    own = Chain()
    options = {**QUICK, "learning_rate": 10.0, "epochs": 1}
    clf = FineTuneClassifier(own, train_from="auto", **options).fit(*pictures)
    assert (clf.kept_, clf.train_from_, clf.n_trained_parameters_) == ("probe", None, 0)
    assert (clf.best_epoch_, len(clf.history_)) == (0, 1)
    assert all(torch.equal(v, own.state_dict()[k]) for k, v in clf.network_.state_dict().items())
    features = FeatureExtractor(
        own, resize_px=40, crop_px=32, device="cpu", precision="float32"
    ).transform(pictures[0])
    np.testing.assert_allclose(
        clf.predict_proba(pictures[0]), clf.probe_.predict_proba(features), atol=1e-4
    )


def test_the_generator_of_others_is_left_alone(pictures) -> None:
    clf = FineTuneClassifier(tiny(), head="random", **QUICK)
    torch.manual_seed(7)
    clf.fit(*pictures)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.rand(1) == drawn


def test_training_learns_what_the_frozen_features_do_not_tell() -> None:
    """Stripes one way or the other, in a network that at first averages them away."""
    rng = np.random.default_rng(0)
    X = np.zeros((60, 32, 32, 3), np.uint8)
    y = np.arange(60) % 2
    for i in range(60):
        stripes = (np.arange(32)[:, None] + rng.integers(4)) // 2 % 2 * np.ones((1, 32))
        X[i] = ((stripes if y[i] else stripes.T) * 200 + rng.integers(0, 30, (32, 32)))[..., None]
    own = tiny()
    with torch.no_grad():  # features that are nearly one constant
        own.second[0].weight.mul_(1e-3)
    options = {**QUICK, "augment": "none", "resize_px": 32, "learning_rate": 1e-2, "epochs": 30,
               "validation_fraction": 0, "head": "random"}  # fmt: skip
    clf = FineTuneClassifier(own, train_from="all", **options).fit(X[:40], y[:40])
    assert clf.score(X[40:], y[40:]) > 0.9
    losses = [e.train_loss for e in clf.history_[1:]]
    assert losses[-1] < losses[0] / 2
    assert math.isnan(clf.history_[-1].val_accuracy)
    assert clf.best_epoch_ == 30


def test_from_scratch_everything_is_trained_batch_norm_included(pictures) -> None:
    clf = FineTuneClassifier("shufflenet_v2_x0_5", weights=None, **QUICK, validation_fraction=0)
    clf.fit(*pictures)
    random = build_network("shufflenet_v2_x0_5", weights=None).module
    changed = {k for k, v in random.state_dict().items()
               if not torch.equal(v, clf.network_.state_dict()[k])}  # fmt: skip
    assert {"conv1.0.weight", "conv1.1.running_mean", "conv5.1.running_var"} <= changed
    assert not any(k.startswith("fc.") for k in changed)
    assert (clf.train_from_, clf.strategy_, clf.probe_) == ("all", "pixels", None)


def test_a_network_that_cannot_be_cut_is_trained_whole_and_says_so(pictures) -> None:
    class Looks(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x if bool(x.isfinite().all()) else x * 0)

    torch.manual_seed(3)
    looks = Looks()
    options = {**QUICK, "train_from": "second", "validation_fraction": 0}
    with pytest.warns(UserWarning, match=r"Looks.*cannot be cut in two at 'second' \(TraceError"):
        whole = FineTuneClassifier(looks, **options).fit(*pictures)
    assert whole.strategy_ == "pixels"
    assert "TraceError" in whole.uncut_
    cut = FineTuneClassifier(tiny(), **options).fit(*pictures)
    for key, value in cut.network_.state_dict().items():
        assert torch.allclose(value.float(), whole.network_.state_dict()[key].float(), atol=1e-5)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1", "featx_small"])
def test_saved_weights_give_the_tuned_networks_features_with_a_fingerprint_of_their_own(
    tmp_path: Path, pictures, name
) -> None:
    X, y = pictures
    weights = "default" if name == "featx_small" else None
    clf = FineTuneClassifier(name, weights=weights, head="probe", train_from=None if weights else
                             {"shufflenet_v2_x0_5": "conv5", "squeezenet1_1": "features.11"}[name],
                             validation_fraction=0, **QUICK).fit(X, y)  # fmt: skip
    path = tmp_path / "tuned.safetensors"
    clf.save_backbone(path)
    assert [p.name for p in tmp_path.iterdir()] == ["tuned.safetensors"]
    options = {"resize_px": 40, "crop_px": 32, "device": "cpu", "precision": "float32"}
    extractor = FeatureExtractor(name, weights=path, **options)
    net = load_backbone(name, weights=path, device="cpu", precision="float32")
    from featx.finetuning._network import Tunable
    from featx.finetuning._pool import Labelled, Stage, embed, make_plain_pool

    vectors = clf._fitted.vectors
    stage = Stage(Tunable("", vectors, None, vectors, "all", {}, ()), clf._fitted.preprocessing,
                  torch.device("cpu"))  # fmt: skip
    images = Labelled(list(X), [""] * 30, np.zeros(30, np.intp))
    expected = embed(make_plain_pool(stage, images, 8, 0), False).numpy()
    np.testing.assert_allclose(extractor.transform(X), expected, atol=1e-5 * expected.max())
    original = FeatureExtractor(name, weights=weights, **options).recipe
    assert set(extractor.recipe.differences(original)) == {"weights"}
    assert extractor.recipe.fingerprint != original.fingerprint
    assert net.weights == extractor.recipe.weights
    with safe_open(path, framework="pt") as file:
        notes, keys = file.metadata(), set(file.keys())
    assert keys == {k for k in clf.network_.state_dict()
                    if not k.startswith(("fc.", "classifier."))}  # fmt: skip
    assert notes["architecture"] == name
    assert notes["train_from"] == clf.train_from_
    assert json.loads(notes["classes"]) == ["blue", "green", "red"]
    assert (notes["epochs"], notes["best_epoch"]) == ("2", "2")
    assert notes["weights"] == original.weights


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, where timm itself resamples
@pytest.mark.parametrize(
    ("name", "sides"),
    [("test_vit", (96, 128)), ("test_vit_relpos", (96, 128)), ("beit_base_patch16_224", (64,)),
     ("vit_small_patch14_dinov2", (70,))],
)  # fmt: skip
def test_a_transformer_that_was_tuned_at_another_size_is_loaded_again(
    tmp_path: Path, pictures, name: str, sides: tuple[int, ...]
) -> None:
    """Tables of relative positions are saved as they were resampled."""
    pytest.importorskip("timm")
    X, y = pictures
    px = sides[0]
    options = {**QUICK, "resize_px": px, "crop_px": px, "epochs": 1, "n_views": 1}
    clf = FineTuneClassifier(f"timm/{name}", weights=None, train_from=None, head="probe",
                             validation_fraction=0, **options).fit(X[:9], y[:9])  # fmt: skip
    clf.save_backbone(tmp_path / "tuned.safetensors")
    for side in sides:
        size = {} if side == px else {"resize_px": side, "crop_px": side}
        again = FeatureExtractor(f"timm/{name}", weights=tmp_path / "tuned.safetensors",
                                 device="cpu", precision="float32", **size)  # fmt: skip
        found = again.transform(X[:2])
        assert again.recipe.preprocessing.crop_px == side
        assert np.isfinite(found).all()
    net = load_backbone(f"timm/{name}", weights=tmp_path / "tuned.safetensors", device="cpu",
                        precision="float32")  # fmt: skip
    x = torch.randn(2, 3, px, px)
    with torch.inference_mode():
        expected = clf._fitted.vectors.eval()(x).numpy()
    from featx.extraction.specs import plan_features

    (spec,) = plan_features(net)
    (found,) = net.features([x.numpy()], [(spec.layer, spec.pooling)])
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_weights_of_another_network_are_refused_for_the_embedded_one(tmp_path, tuned) -> None:
    tuned.save_backbone(tmp_path / "r.safetensors")
    with pytest.raises(WeightsError, match="does not fit InvertedResiduals"):
        load_backbone("featx_small", weights=tmp_path / "r.safetensors")


def test_saving_needs_the_ending_and_a_folder_and_leaves_the_old_file(tmp_path, tuned) -> None:
    with pytest.raises(ParameterError, match=r"got the ending '\.pth', expected '\.safetensors'"):
        tuned.save_backbone(tmp_path / "t.pth")
    with pytest.raises(StoreWriteError, match="does not exist"):
        tuned.save_backbone(tmp_path / "no" / "t.safetensors")
    old = tmp_path / "t.safetensors"
    old.mkdir()  # cannot be replaced by a file
    with pytest.raises(StoreWriteError, match="is a folder, expected a file"):
        tuned.save_backbone(old)
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


def test_every_bad_image_is_named(tmp_path, pictures) -> None:
    X, y = pictures
    paths = []
    for i, pixels in enumerate(X):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(pixels).save(paths[-1])
    Path(paths[3]).write_bytes(b"not an image")
    Path(paths[20]).unlink()
    with pytest.raises(ImageDecodeError, match=r"2 of 30 .*3\.png': not a .*20\.png': No such"):
        FineTuneClassifier(tiny(), **QUICK).fit(paths, y)
    clf = FineTuneClassifier(tiny(), validation_fraction=0, **QUICK).fit(X, y)
    with pytest.raises(ImageDecodeError, match=r"1 of 2 .*20\.png': No such file"):
        clf.predict([paths[0], paths[20]])
    np.testing.assert_allclose(clf.predict_proba(paths[:3]), clf.predict_proba(X[:3]), atol=1e-6)


def test_an_images_probabilities_do_not_depend_on_its_batch(pictures, tuned) -> None:
    X, _ = pictures
    alone = np.concatenate([tuned.predict_proba(X[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(alone, tuned.predict_proba(X)[:5], atol=1e-5)
    np.testing.assert_allclose(tuned.predict_proba(X).sum(axis=1), 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": "hflipp"}, r"augment: got 'hflipp', .* Did you mean 'hflip'"),
        ({"head": "prob"}, r"head: got 'prob', .* Did you mean 'probe'"),
        ({"epochs": 0}, "epochs: got 0, expected an integer of at least 1"),
        ({"epochs": 1.5}, r"epochs: got 1\.5"),
        ({"n_views": True}, "n_views: got True"),
        ({"learning_rate": -1.0}, r"learning_rate: got -1\.0"),
        (
            {"label_smoothing": 1.0},
            r"got 1\.0, expected a number from 0 to 0\.99",
        ),
        ({"validation_fraction": 1.0}, r"validation_fraction: got 1\.0"),
        ({"train_from": "auto"}, r"head: got 'random' with train_from 'auto'"),
        (
            {"train_from": "auto", "validation_fraction": 0},
            "validation_fraction: got 0 with train_from 'auto', expected more than 0",
        ),
        ({"learning_rate": 1e30}, r"learning_rate: got 1e[+]30, with which the loss became"),
    ],
    ids=lambda v: str(v)[:24],
)
def test_parameters_out_of_range_are_named(pictures, options, message) -> None:
    with pytest.raises(ParameterError, match=message):
        FineTuneClassifier(tiny(), **{**QUICK, "head": "random", **options}).fit(*pictures)


def test_labels_that_do_not_fit_are_refused(pictures) -> None:
    X, y = pictures
    with pytest.raises(ParameterError, match="y: got 29 labels for 30 images"):
        FineTuneClassifier(**SMALL).fit(X, y[:29])
    with pytest.raises(ParameterError, match=r"y: got one class \(red\)"):
        FineTuneClassifier(**SMALL).fit(X, ["red"] * 30)
    with pytest.raises(NotFittedError):
        FineTuneClassifier().predict(X)


def test_it_is_an_estimator_of_scikit_learn_and_is_made_without_torch() -> None:
    clf = FineTuneClassifier("resnet18", weights=None, epochs=3)
    assert clone(clf).get_params() == clf.get_params()
    assert clone(clf).set_params(epochs=4).epochs == 4
    code = (
        "import sys, featx.finetuning as f; f.FineTuneClassifier(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pictures) -> Path:
    root = tmp_path_factory.mktemp("finetune")
    for i, (pixels, label) in enumerate(zip(*pictures, strict=True)):
        (root / "train" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "train" / label / f"{i}.png")
    return root


def words(folder: Path, *more: str) -> list[str]:
    out = str(folder / "tuned.safetensors")
    return ["finetune", str(folder / "train"), "--out", out, "--epochs", "1", "--train-from",
            "head", "--device", "cpu", *more]  # fmt: skip


def test_the_command_tunes_and_extraction_takes_what_it_writes(folder, capsys) -> None:
    assert main(words(folder, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == ["blue", "green", "red"]
    assert (found["epochs"], found["backbone"], found["train_from"]) == (1, "featx_base", "head")
    assert 0 <= found["probe_val_accuracy"] <= found["val_accuracy"] <= 1
    assert (found["n_samples"], found["n_validation"], found["n_unlabelled"]) == (30, 6, 0)
    assert found["best_epoch"] in (0, 1)
    assert found["seconds"] > 0
    assert found["kept"] == ("fine-tuned" if found["best_epoch"] else "probe")
    assert [d["train_from"] for d in found["depths"]] == [None, "head"]
    assert found["depths"][0]["val_accuracy"] == found["probe_val_accuracy"]
    assert found["n_frozen_passes"] == 30 + 8 * 24
    store = str(folder / "f.h5")
    extract = ["extract", str(folder / "train"), "--store", store, "--backbone", "featx_base"]
    assert main([*extract, "--weights", found["out"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["extracted"] == 30


def test_the_command_says_that_fine_tuning_hurts_and_keeps_the_probe(folder, capsys) -> None:
    options = ["--train-from", "auto", "--learning-rate", "100"]
    assert main(words(folder, *options, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    names = [None, "head", "blocks.15", "blocks.13", "blocks.9"]
    assert [d["train_from"] for d in found["depths"]] == names
    assert (found["kept"], found["train_from"], found["best_epoch"]) == ("probe", None, 0)
    from featx.cli.finetune import show

    text = show(found)
    assert "the probe on frozen features is kept, and the weights saved are the original" in text
    assert [line.split()[0] for line in text.splitlines()[2:8]] == [
        "train", "none", *names[1:]
    ]  # fmt: skip


def test_the_command_says_how_to_extract_and_takes_labels_from_a_csv(folder, capsys) -> None:
    paths = sorted((folder / "train").rglob("*.png"))[:24]
    (folder / "l.csv").write_text(
        "path,label\n" + "".join(f"{p},{'ab'[i % 2]}\n" for i, p in enumerate(paths))
    )
    assert main(words(folder, "--labels", str(folder / "l.csv"))) == 0
    text = capsys.readouterr().out
    assert text.startswith("2 classes, 24 images, ")
    assert "6 images have no label and were left out" in text
    assert f"--backbone featx_base --weights {folder / 'tuned.safetensors'}" in text


def test_the_commands_errors_are_one_line(folder, capsys) -> None:
    bare = folder / "bare"
    bare.mkdir(exist_ok=True)
    Image.new("RGB", (9, 9)).save(bare / "1.png")
    for given, says in (
        (words(folder, "--train-from", "blocks.99"), "Did you mean 'blocks.9'"),
        (words(folder, "--out", "t.pth"), "expected a name that ends in .safetensors"),
        (
            ["finetune", str(bare), "--out", str(bare / "t.safetensors")],
            "has no labels for 1 images",
        ),
    ):
        assert main(given) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert says in printed.err
