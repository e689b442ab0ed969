"""Networks by name and of one's own: what is found, refused, and said about it."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
import zipfile
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from featx.backbones import backbone_card, list_backbones, load_backbone
from featx.backbones._torchvision import find_head
from featx.backbones.download import fetch_file, path_in_cache
from featx.backbones.load import describe_transform
from featx.backbones.weights import load_into, read_state_dict
from featx.errors import BackboneError, MissingDependencyError, ParameterError, WeightsError

F32 = {"precision": "float32", "device": "cpu"}


class Tiny(nn.Module):
    """A classifier with everything that must be frozen: batch norm and dropout."""

    def __init__(self, n_classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(6, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(torch.relu(self.norm(self.conv(x))).mean((2, 3))))


def saved_resnet18(folder: Path, **replaced: torch.Tensor) -> Path:
    torch.manual_seed(1)
    state = torchvision.models.resnet18(weights=None).state_dict()
    path = folder / "r.pth"
    torch.save({**state, **replaced}, path)
    return path


def test_every_torchvision_network_ends_in_the_classifier_that_is_cut_off() -> None:
    for name in torchvision.models.list_models(module=torchvision.models):
        if name.startswith("regnet") and name != "regnet_y_400mf":
            continue  # cannot be built without memory, and all are one class
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        with torch.device("cpu" if name.startswith("regnet") else "meta"):
            module = torchvision.models.get_model(name, weights=None, **options)
        head = find_head(module)
        assert head is not None
        last = module.get_submodule(head)
        n_classes = last.out_features if isinstance(last, nn.Linear) else last.out_channels
        assert n_classes == 1000, name


def test_list_has_featx_first_then_torchvisions_classification_networks_only() -> None:
    names = list_backbones()
    assert names[:2] == ["featx_base", "featx_small"]
    assert set(names[2:]) == set(torchvision.models.list_models(module=torchvision.models))
    assert list_backbones("mobilenet*") == sorted(n for n in names if n.startswith("mobilenet"))


def test_preprocessing_is_what_the_weights_ask_for() -> None:
    for name in ("mobilenet_v2", "efficientnet_b3", "vit_b_16", "inception_v3"):
        for entry in backbone_card(name).weights:
            wanted = torchvision.models.get_model_weights(name)[entry.name].transforms()
            found = entry.preprocessing
            assert (found.resize_px, found.crop_px) == (wanted.resize_size[0], wanted.crop_size[0])
            assert found.interpolation == wanted.interpolation.value
            assert found.mean == tuple(wanted.mean)
            assert found.std == tuple(wanted.std)


def test_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(BackboneError, match=r"got 'resnet81', .* Did you mean 'resnet18'"):
        load_backbone("resnet81")


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(7)
    first = load_backbone("resnet18", weights=None, **F32)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.rand(1) == drawn
    assert first.weights == load_backbone("resnet18", weights=None, **F32).weights
    assert first.weights_source == "random (seed 0)"


@pytest.mark.parametrize("kind", ["pth", "safetensors", "wrapped", "data parallel"])
def test_weights_file_of_any_kind_gives_one_network(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(1)
    state = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "wrapped":
        torch.save({"model": state}, path)
    elif kind == "data parallel":
        torch.save({f"module.{k}": v for k, v in state.items()}, path)
    else:
        torch.save(state, path)
    net = load_backbone("resnet18", weights=path, **F32)
    expected = load_backbone("resnet18", weights=saved_resnet18(tmp_path), **F32)
    assert net.weights == expected.weights
    assert net.weights_source == str(path)


def test_weights_of_another_network_are_refused_with_what_differs(tmp_path: Path) -> None:
    path = saved_resnet18(tmp_path, **{"conv1.weight": torch.zeros(64, 3, 3, 3)})
    expected = r"1 of another shape \(conv1.weight got \(64, 3, 3, 3\), expected \(64, 3, 7, 7\)\)"
    with pytest.raises(WeightsError, match=expected):
        load_backbone("resnet18", weights=path)
    with pytest.raises(WeightsError, match=r"\d+ missing \(.*; \d+ unexpected \(.*and \d+ more\)"):
        load_backbone("mobilenet_v2", weights=path)


def test_a_file_fine_tuned_on_other_classes_gives_features_without_its_head(
    tmp_path: Path,
) -> None:
    head = {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    net = load_backbone("resnet18", weights=saved_resnet18(tmp_path, **head), **F32)
    assert net.layer("penultimate").shape == (1, 512)
    assert "without its classifier" in net.weights_source


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    """Would catch torch.load without weights_only."""
    path = tmp_path / "evil.pth"
    torch.save(Tiny(), path)  # a pickled class: loading it imports and runs
    with pytest.raises(WeightsError, match=r"evil\.pth: reading it would run code"):
        load_backbone("resnet18", weights=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as weights"),
        (b"not weights at all", "cannot be read as weights"),
        (b"PK\x03\x04 cut", "cannot be read as weights"),
        # torch's unpickler raises IndexError here
        (b"\x80\x02.", "cannot be read as weights"),
    ],
    ids=["empty", "text", "cut zip", "pickle of nothing"],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_weights_files_are_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_backbone("resnet18", weights=tmp_path / name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["layer2.0.conv1.weight", "layer4.1.bn2.running_var"])
def test_weights_that_are_not_finite_are_refused_by_the_tensors_name(
    tmp_path, name, value
) -> None:
    state = torchvision.models.resnet18().state_dict()
    state[name].reshape(-1)[1] = value
    torch.save(state, tmp_path / "w.pth")
    says = rf"w\.pth.*tensor '{name}' has 1 of \d+ numbers that are NaN or infinite"
    with pytest.raises(WeightsError, match=says):
        load_backbone("resnet18", weights=tmp_path / "w.pth")


def test_a_mask_that_the_network_has_itself_may_be_infinite(tmp_path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.register_buffer("mask", torch.full((2,), float("-inf")))

    torch.save(Masked().state_dict(), tmp_path / "w.pth")
    assert load_into(Masked(), read_state_dict(tmp_path / "w.pth"), name="w")


def test_a_head_that_is_left_out_may_hold_anything(tmp_path) -> None:
    path = saved_resnet18(tmp_path, **{"fc.weight": torch.full((7, 512), float("nan"))})
    assert load_backbone("resnet18", weights=path)


def test_packed_zip_files_and_endless_headers_are_refused_unread(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\0" * 50_000_000)
    with pytest.raises(WeightsError, match=r"bomb\.pth.*50000000 bytes are packed into it"):
        read_state_dict(tmp_path / "bomb.pth")
    length = 64 * 2**20
    with (tmp_path / "bomb.safetensors").open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(8 + length)
    with pytest.raises(WeightsError, match=r"bomb\.safetensors.*its header has more than"):
        read_state_dict(tmp_path / "bomb.safetensors")


def test_missing_file_and_unknown_weights_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "resnet18.pth").touch()
    with pytest.raises(WeightsError, match=r"no such file, .* Did you mean 'resnet18.pth'"):
        load_backbone("resnet18", weights=tmp_path / "resnet1.pth")
    with pytest.raises(WeightsError, match=r"'IMAGENET1K_V9', .* Did you mean 'IMAGENET1K_V1'"):
        load_backbone("resnet18", weights="IMAGENET1K_V9")


def test_offline_says_which_file_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("featx.backbones.download.TIMEOUT_S", 1.0)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the discard port: nobody listens
    expected = (
        rf"weights 'IMAGENET1K_V1': not at {tmp_path}/hub/checkpoints/resnet18-f37072fd\.pth, and "
        r"https://download\.pytorch\.org/models/resnet18-f37072fd\.pth cannot be fetched .*"
        r"--weights FILE .*'featx_base' needs no download"
    )
    with pytest.raises(WeightsError, match=expected) as caught:
        load_backbone("resnet18")
    assert "\n" not in str(caught.value)


@pytest.fixture
def server(tmp_path: Path):
    """A loopback server of one folder, in place of a model hub."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *args):
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_download_is_cached_checked_and_atomic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server
) -> None:
    folder, url = server
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    data = b"weights" * 1000
    name = f"net-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(data)
    (folder / "net-00000000.pth").write_bytes(data)
    path = fetch_file(f"{url}/{name}", name="test")
    assert path == path_in_cache(f"{url}/{name}")
    assert path.read_bytes() == data
    (folder / name).unlink()
    assert fetch_file(f"{url}/{name}", name="test") == path  # no second download
    with pytest.raises(WeightsError, match=r"SHA-256 is \w+, its name says 00000000"):
        fetch_file(f"{url}/net-00000000.pth", name="test")
    with pytest.raises(WeightsError, match=r"cannot be fetched \(File not found\)"):
        fetch_file(f"{url}/absent.pth", name="test")
    assert [p.name for p in path.parent.iterdir()] == [name]


@pytest.mark.parametrize(
    ("length", "found"),
    [(None, "more than 3145728 bytes"), (2**50, "are free"), (5 * 2**20, "got 4194304 of")],
    ids=["endless", "larger than the disk", "cut short"],
)
def test_a_download_stops_where_the_file_is_too_large_or_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int | None, found: str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("featx.backbones.download.MAX_UNTOLD_BYTES", 3 * 2**20)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            return

        def do_GET(self):
            self.send_response(200)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(4 if length else 1000):
                    self.wfile.write(bytes(2**20))

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{running.server_port}/net.pth"
        with pytest.raises(WeightsError, match=rf"cannot be fetched \(.*{found}"):
            fetch_file(url, name="test")
    finally:
        running.shutdown()
        running.server_close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_published_weights_load_from_torch_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.get_model_weights("resnet18").DEFAULT.url
    place = path_in_cache(url)
    place.parent.mkdir(parents=True)
    saved_resnet18(tmp_path).rename(place)
    by_default = load_backbone("resnet18", **F32)
    assert by_default.weights == load_backbone("resnet18", weights=place, **F32).weights
    assert by_default.weights_source == f"torchvision IMAGENET1K_V1 ({url})"


def test_own_network_is_copied_and_read_at_its_output() -> None:
    mine = Tiny().train()
    net = load_backbone(mine, precision="bfloat16", device="cpu")
    assert net.name.endswith("test_backbones_load:Tiny")
    assert net.layer(net.default_layer).shape == (1, 4)
    assert mine.training
    assert mine.fc.weight.dtype == torch.float32
    with pytest.raises(WeightsError, match="got None with a network of your own"):
        load_backbone(mine, weights=None)
    with pytest.raises(ParameterError, match="backbone: got int, expected a name"):
        load_backbone(5)


def test_device_that_is_not_there_is_an_error_not_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match=r"got 'cuda', but torch .* sees 0 CUDA devices"):
        load_backbone("resnet18", weights=None, device="cuda")
    with pytest.raises(ParameterError, match=r"got 'gpu', expected 'auto', 'cpu'"):
        load_backbone("resnet18", weights=None, device="gpu")
    with pytest.raises(ParameterError, match=r"got 'bf16', .*'bfloat16'"):
        load_backbone("resnet18", weights=None, precision="bf16")


def test_auto_takes_a_gpu_and_bfloat16_only_where_they_are_native(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from featx.engines.placement import Precision, choose_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")
    for major, wanted in ((7, "float32"), (9, "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, m=major: (m, 0))
        assert Precision.parse("auto", torch.device("cuda")) == Precision(wanted)
    for has, wanted in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda h=has: h, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        assert Precision.parse("auto", torch.device("cpu")) == Precision(wanted)


def test_transforms_with_other_settings_have_other_descriptions() -> None:
    from torchvision.transforms import CenterCrop

    def one(image):
        return image

    def other(image):
        return image.rotate(90)

    assert describe_transform(one) != describe_transform(other)
    assert describe_transform(one) == describe_transform(one)
    assert describe_transform(CenterCrop(8)) != describe_transform(CenterCrop(9))
    assert " at 0x" not in describe_transform(lambda image: image)


def test_timm_networks_load_by_prefix() -> None:
    timm = pytest.importorskip("timm", reason="timm is an extra")
    net = load_backbone("timm/resnet10t", weights=None, **F32)
    module = timm.create_model("resnet10t", pretrained=False, num_classes=0)
    assert net.layer("penultimate").shape[1] == module.num_features
    with pytest.raises(BackboneError, match=r"got 'timm/resnet10tt', .*'timm/resnet10t'"):
        load_backbone("timm/resnet10tt")


def test_timm_missing_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[timm\]'"):
        load_backbone("timm/resnet10t")
