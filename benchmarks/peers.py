"""Images a second end to end beside peers, each as its users run it, interleaved in one run.

    python benchmarks/peers.py [--n 300] [--network mobilenet_v2] [--repeats 3] [--large] [--dry]
                               [--only NAME ...] [--envs FOLDER]

From the same JPEG and PNG files on disk to an array of penultimate features in memory, by the
same network with the same weights. Each contender is a process of its own that stays alive; in
each round each reads all files anew, one contender after the other, in turned order every other
round. Excluded for all alike: imports, loading, and converting the network, which come before
the first round with a warm-up on a few images; included for all: reader processes, which start
anew in every round where there are any. OMP_WAIT_POLICY=PASSIVE is the same for all; the number
of threads is what each takes by itself. A ratio is taken within a round, and the median of the
rounds is printed. The best peer is the one with the highest median.

Weights: those of the shared assets for mobilenet_v2; for resnet50 random ones with a fixed seed,
which give every image nearly the same vector, so that its cosines say little. `--large` takes
JPEGs of 3,000 px, made by upscaling 40 of the photographs, each linked several times.

Peers are installed with pip, pinned and without their dependencies, into environments of their
own in FOLDER, in which a .pth file adds the packages of the running environment after their own,
so that torch, torchvision and timm are those that featx uses. Peers that read with worker
processes get one per core, and batches of 32, unless they have a size of their own:

- script: torch DataLoader with a worker a core, torchvision's transforms.
- onnxruntime: the same with torch.onnx's export of the network in the place of torch.
- timm: create_dataset, create_loader and the loop of its inference.py, 2 workers as there;
  batches of 32 instead of 256, which would be two. Torchvision's weights under timm's names,
  loaded as a local file (mobilenetv2_100, resnet50.tv_in1k).
- thingsvision: get_extractor(source="torchvision", model_path=...), ImageDataset, DataLoader,
  extract_features, as in its README. Its DataLoader has no workers. It imports tensorflow, which
  is mocked, and np.AxisError, which numpy 2 lacks and is put back.
- img2vec: get_vec(list of 32 images). The function that makes its network is replaced by one
  that loads the file. It has no mobilenet_v2, which takes the place of its alexnet.
- embetter: ColumnGrabber, ImageLoader and TimmEncoder in a pipeline over a data frame;
  timm.create_model is told of the local file, as above. Images one by one.
- imagededup: CNN(model_config=CustomModel(...)).encode_images(folder) with its batches of 64;
  once as it comes, without workers, and once with num_enc_workers.
- fastembed: ImageEmbedding(specific_model_path=...).embed(files) with its batches of 16; the
  folder has torch.onnx's export and torchvision's preprocessing, under the name of its resnet50.
- transformers: pipeline("image-feature-extraction", pool=True) on the list of files, in batches of
  32. Its own form of the network with random weights, so that the features cannot be compared.
- sentence-transformers: SentenceTransformer(the same folder).encode(files, batch_size=32).
- featx: FeatureExtractor(...).transform(files), as it comes (engine and precision auto), in
  float32, and both by torch, as without OpenVINO. All else here is float32.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.machinery
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch
import torchvision
from PIL import Image
from search import Child, load_before
from torch.utils.data import DataLoader

BATCH = 32
FEW = 8
LARGE_PX, N_LARGE = 3000, 40
TIMM = {"mobilenet_v2": "mobilenetv2_100", "resnet50": "resnet50.tv_in1k"}
LAYER = {"mobilenet_v2": "classifier.0", "resnet50": "avgpool"}
# The peer first, then what it needs and the running environment may lack.
ENVS = {
    "thingsvision": "thingsvision==2.7.3 torchtyping==0.1.5 typeguard==2.13.3 ftfy==6.3.1"
    " wcwidth==0.9.4 regex==2026.11.19 numba==0.68.1 llvmlite==0.50.0 pandas==3.1.1 six==1.17.0",
    "img2vec": "img2vec-pytorch==1.0.2",
    "embetter": "embetter==0.9.1 pandas==3.1.1 six==1.17.0",
    "imagededup": "imagededup==0.3.3.post2 PyWavelets==1.9.0",
    "sentence-transformers": "sentence-transformers==6.2.0",
    "onnx": "onnxruntime==1.32.0 fastembed==0.9.1 flatbuffers==25.12.19 protobuf==7.36.2"
    " onnx==1.23.2 onnxscript==0.7.2 onnx-ir==1.1.0 ml_dtypes==0.6.0 tokenizers==0.23.3"
    " loguru==0.7.3 mmh3==5.3.1 py-rust-stemmers==0.1.8 PyYAML==6.0.4 anyio==4.16.0 click==8.5.1"
    " certifi==2026.10.19.post1 charset-normalizer==3.5.3 h11==0.16.0 hf-xet==1.8.0 idna==3.20"
    " httpcore==1.0.9 httpx==0.28.1 huggingface_hub==1.33.0 packaging==26.4 requests==2.34.2"
    " urllib3==2.8.0",
}

# -- contenders: each loads the network, and returns what turns a folder into features ------------


def files_of(folder):
    """Return the paths of a folder's images."""
    return sorted(str(path) for path in folder.iterdir())


class Files:
    """Images by path, transformed."""

    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return self.transform(Image.open(self.paths[i]).convert("RGB"))


def whole(args):
    """Return torchvision's network with the weights of all."""
    network = torchvision.models.get_model(args.network, weights=None)
    network.load_state_dict(torch.load(args.weights, weights_only=True))
    return network.eval()


def headless(args):
    """Return it without its last layer."""
    network = whole(args)
    setattr(network, "fc" if args.network == "resnet50" else "classifier", torch.nn.Identity())
    return network


def transforms(args):
    """Return torchvision's preprocessing of the first published weights, as featx uses it."""
    return torchvision.models.get_model_weights(args.network)["IMAGENET1K_V1"].transforms()


def loader(folder, args):
    """Return batches as a plain script reads them."""
    files = Files(files_of(folder), transforms(args))
    return DataLoader(files, BATCH, num_workers=os.cpu_count())


def script(args):
    network = headless(args)

    def ask(folder):
        with torch.inference_mode():
            return np.concatenate([network(x).numpy() for x in loader(folder, args)])

    return ask


def exported(args):
    """Return a folder with the network as an ONNX file, and its preprocessing for fastembed."""
    folder = args.folder / f"{args.contender} model"
    folder.mkdir()
    batch = {"x": {0: torch.export.Dim("batch")}}
    blank = torch.zeros(2, 3, 224, 224)
    torch.onnx.export(
        headless(args), (blank,), folder / "model.onnx", dynamic_shapes=batch, dynamo=True,
        external_data=False,
    )  # fmt: skip
    asked = transforms(args)
    how = {
        "do_resize": True, "size": {"shortest_edge": asked.resize_size[0]},
        "resample": int(Image.Resampling.BILINEAR), "do_center_crop": True,
        "crop_size": asked.crop_size[0], "do_normalize": True, "image_mean": asked.mean,
        "image_std": asked.std,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(how))
    return folder


def onnxruntime(args):
    import onnxruntime

    path = exported(args) / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def ask(folder):
        batches = loader(folder, args)
        return np.concatenate([session.run(None, {"x": x.numpy()})[0] for x in batches])

    return ask


def fastembed(args):
    from fastembed import ImageEmbedding

    model = ImageEmbedding("Qdrant/resnet50-onnx", specific_model_path=str(exported(args)))
    return lambda folder: np.array(list(model.embed(files_of(folder))))


def timm_weights(args):
    """Write the weights under timm's names, whose modules come in the same order."""
    import timm

    names = timm.create_model(TIMM[args.network]).state_dict()
    weights = torch.load(args.weights, weights_only=True)
    renamed = dict(zip(names, weights.values(), strict=True))
    assert all(renamed[name].shape == x.shape for name, x in names.items())
    path = args.folder / f"{args.contender}.pth"
    torch.save(renamed, path)
    return {"file": str(path)}


def timm_loop(args):
    import timm

    network = timm.create_model(
        TIMM[args.network], pretrained=True, num_classes=0,
        pretrained_cfg_overlay=timm_weights(args),
    ).eval()  # fmt: skip
    config = timm.data.resolve_model_data_config(network)

    def ask(folder):
        dataset = timm.data.create_dataset("", root=folder)
        batches = timm.data.create_loader(
            dataset, batch_size=BATCH, num_workers=2, device=torch.device("cpu"), **config
        )
        with torch.inference_mode():
            return np.concatenate([network(x).numpy() for x, _ in batches])

    return ask


def thingsvision(args):
    parts = ("", ".keras", ".keras.applications", ".keras.layers")
    for name in [f"tensorflow{part}" for part in parts]:
        spec = importlib.machinery.ModuleSpec(name, None)
        sys.modules[name] = MagicMock(__spec__=spec)
    np.AxisError = np.exceptions.AxisError  # noqa: NPY201
    from thingsvision import get_extractor
    from thingsvision.utils import data

    extractor = get_extractor(
        model_name=args.network, source="torchvision", device="cpu", pretrained=False,
        model_path=args.weights,
    )  # fmt: skip

    def ask(folder):
        dataset = data.ImageDataset(
            root=str(folder), out_path=str(args.folder), backend=extractor.get_backend(),
            transforms=extractor.get_transformations(resize_dim=256, crop_dim=224),
        )  # fmt: skip
        batches = data.DataLoader(dataset, batch_size=BATCH, backend=extractor.get_backend())
        return extractor.extract_features(
            batches=batches, module_name=LAYER[args.network], flatten_acts=True
        )

    return ask


def img2vec(args):
    from img2vec_pytorch import Img2Vec, img_to_vec

    known = "resnet50" if args.network == "resnet50" else "alexnet"
    setattr(img_to_vec, known, lambda weights: whole(args))
    options = {} if known == "resnet50" else {"layer": 2, "layer_output_size": 1280}
    model = Img2Vec(model=known, **options)

    def ask(folder):
        paths = files_of(folder)
        starts = range(0, len(paths), BATCH)
        blocks = ([Image.open(p).convert("RGB") for p in paths[i : i + BATCH]] for i in starts)
        return np.concatenate([model.get_vec(block) for block in blocks])

    return ask


def embetter(args):
    import pandas as pd
    import timm
    from embetter.grab import ColumnGrabber
    from embetter.vision import ImageLoader, TimmEncoder
    from sklearn.pipeline import make_pipeline

    weights = timm_weights(args)
    timm.create_model = functools.partial(timm.create_model, pretrained_cfg_overlay=weights)
    pipe = make_pipeline(
        ColumnGrabber("filepaths"), ImageLoader(), TimmEncoder(name=TIMM[args.network])
    )
    return lambda folder: pipe.fit_transform(pd.DataFrame({"filepaths": files_of(folder)}))


def imagededup(args, **workers):
    from imagededup.methods import CNN
    from imagededup.utils import CustomModel

    config = CustomModel(name=args.network, model=headless(args), transform=transforms(args))
    encoder = CNN(model_config=config)

    def ask(folder):
        found = encoder.encode_images(image_dir=folder, **workers)
        return np.stack([found[name] for name in sorted(found)])

    return ask


def in_hugging_face(args):
    """Return a folder with the network as transformers knows it; its weights are random."""
    import transformers

    torch.manual_seed(0)
    if args.network == "resnet50":
        network = transformers.ResNetModel(transformers.ResNetConfig())
        processor = transformers.ConvNextImageProcessor(crop_pct=0.875)
    else:  # sentence-transformers asks for hidden_size
        config = transformers.MobileNetV2Config(hidden_size=1280)
        network = transformers.MobileNetV2Model(config)
        processor = transformers.MobileNetV2ImageProcessor()
    folder = args.folder / f"{args.contender} model"
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def transformers_pipeline(args):
    from transformers import pipeline

    pipe = pipeline(
        "image-feature-extraction", model=in_hugging_face(args), pool=True, device="cpu"
    )
    return lambda folder: np.array([np.ravel(x) for x in pipe(files_of(folder), batch_size=BATCH)])


def sentence_transformers(args):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(in_hugging_face(args), device="cpu")
    return lambda folder: model.encode(files_of(folder), batch_size=BATCH)


def featx(args, **options):
    from featx import FeatureExtractor

    extractor = FeatureExtractor(
        args.network, weights=args.weights, device="cpu", progress=False, **options
    )
    # Engine auto converts the network where there are enough images; so many small ones, that
    # it is done before the first round.
    rng = np.random.default_rng(0)
    extractor.transform(rng.integers(0, 256, (min(args.n, 128), 16, 16, 3), np.uint8))
    return lambda folder: extractor.transform(files_of(folder))


REDUCED = "large JPEGs decoded at reduced scale"
# Name: what makes it, its environment, and in what its features differ from the script's.
CONTENDERS = {
    "script": (script, None, "the reference"),
    "onnxruntime": (onnxruntime, "onnx", "other kernels only"),
    "fastembed": (
        fastembed,
        "onnx",
        "the crop, by a pixel where the margin is odd; scaled to length 1",
    ),
    "timm": (timm_loop, None, "bicubic resize with mobilenet_v2"),
    "thingsvision": (thingsvision, "thingsvision", "as the script"),
    "img2vec": (img2vec, "img2vec", "the whole image squeezed to 224 x 224, no crop"),
    "embetter": (
        embetter,
        "embetter",
        "no eval mode: batch norm over each image alone; bicubic with mobilenet_v2",
    ),
    "imagededup": (imagededup, "imagededup", "as the script"),
    "imagededup, workers": (
        functools.partial(imagededup, num_enc_workers=os.cpu_count()),
        "imagededup",
        "as the script",
    ),
    "transformers": (transformers_pipeline, None, "random weights"),
    "sentence-transformers": (sentence_transformers, "sentence-transformers", "random weights"),
    "featx": (featx, None, f"bfloat16 where the CPU has it; {REDUCED}"),
    "featx, int8": (functools.partial(featx, precision="int8"), None, f"quantised; {REDUCED}"),
    "featx, float32": (functools.partial(featx, precision="float32"), None, REDUCED),
    "featx, torch": (
        functools.partial(featx, engine="torch"),
        None,
        f"as without OpenVINO, bfloat16 where the CPU has it; {REDUCED}",
    ),
    "featx, float32, torch": (
        functools.partial(featx, precision="float32", engine="torch"),
        None,
        REDUCED,
    ),
}


def is_ours(name):
    """Tell featx from peers."""
    return name.startswith("featx")


# -- processes ------------------------------------------------------------------------------------


def contend(args):
    """Load, warm up, then answer each line of stdin by a line of JSON."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer

    def answer(work):
        start = time.perf_counter()
        try:
            found, said = work(), {}
        except Exception as err:  # noqa: BLE001
            found, said = None, {"error": f"{type(err).__name__}: {err}".replace("\n", " ")}
        said["seconds"] = time.perf_counter() - start
        if isinstance(found, np.ndarray):
            np.save(args.folder / f"{args.contender}.npy", found)
        print(json.dumps(said), file=out, flush=True)
        return found

    def ready():
        ask = CONTENDERS[args.contender][0](args)
        ask(args.folder / "few")
        return ask

    ask = answer(ready)
    for _ in sys.stdin:
        answer(lambda: ask(args.folder / "images"))


def python_of(env, envs):
    """Return the interpreter of an environment, made where it is not as it should be."""
    if env is None:
        return sys.executable
    running = sysconfig.get_path("purelib")
    wanted = f"# {ENVS[env]}\nimport site; site.addsitedir({running!r})\n"
    python = envs / env / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(envs / env)}))
    if (
        not (packages / "running.pth").is_file()
        or (packages / "running.pth").read_text() != wanted
    ):
        print(f"  {env}: installing", flush=True)
        run = functools.partial(subprocess.run, check=True, capture_output=True, text=True)
        run([sys.executable, "-m", "venv", "--clear", "--without-pip", envs / env])
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet"]
        run([*pip, *ENVS[env].split()])
        (packages / "running.pth").write_text(wanted)
    return python


class Peer(Child):
    """The process of a contender."""

    def __init__(self, name, args):
        self.name = name
        of_child = ["--contender", name, "--network", args.network, "--n", str(args.n)]
        of_child += ["--folder", args.folder, "--weights", args.weights]
        with (args.envs / f"{name}.log").open("w") as log:
            self.process = subprocess.Popen(
                [python_of(CONTENDERS[name][1], args.envs), __file__, *of_child],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"},
            )

    def answer(self):
        """Return the seconds of the next answer."""
        said = super().answer()
        if said is None:
            raise RuntimeError(f"its process ended with status {self.process.wait()}")
        if "error" in said:
            raise RuntimeError(said["error"])
        return said["seconds"]


def started(stack, args):
    """Start one after the other; return the processes, and their seconds until then."""
    children, ready = [], {}
    for name in args.only or CONTENDERS:
        try:
            child = stack.enter_context(Peer(name, args))
            ready[name] = child.answer()
        except (RuntimeError, OSError, subprocess.CalledProcessError) as err:
            print(f"{name}: not run: {getattr(err, 'stderr', None) or err}".strip())
            continue
        print(f"  {name}: ready in {ready[name]:.1f} s", flush=True)
        children.append(child)
    return children, ready


def rounds_of(children, args):
    """Return the seconds of each contender in each round; one that fails is left out."""
    seconds = {child.name: [] for child in children}
    for i in range(args.repeats):
        for child in children[:: -1 if i % 2 else 1]:
            if child.name in seconds:
                try:
                    seconds[child.name].append(child.round())
                except RuntimeError as err:
                    print(f"{child.name}: ended in a round: {err}")
                    del seconds[child.name]
    return seconds


# -- files and figures ----------------------------------------------------------------------------


def photographs(n, folder, *, large):
    """Link n photographs of all sets, or upscaled ones, into folder/images; a few into few."""
    from common import some_photographs

    paths = [Path(path) for path in some_photographs(min(n, N_LARGE) if large else n)]
    for name in ("images", "few", "large"):
        (folder / name).mkdir()
    if large:
        paths = [upscaled(path, folder / "large" / f"{i}.jpg") for i, path in enumerate(paths)]
        paths = [paths[i % len(paths)] for i in range(n)]
    for i, path in enumerate(paths):
        for name in ("images", "few")[: 2 if i < FEW else 1]:
            (folder / name / f"{i:05}{path.suffix.lower()}").symlink_to(path)
    return len(paths)


def upscaled(path, to):
    """Write a JPEG of 3,000 px on its long side."""
    image = Image.open(path).convert("RGB")
    scale = LARGE_PX / max(image.size)
    image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC).save(
        to, quality=90
    )
    return to


def weights_of(network, folder):
    """Return the file of weights; random ones are written first."""
    from common import WEIGHTS

    if network == "mobilenet_v2":
        return WEIGHTS
    torch.manual_seed(0)
    torch.save(torchvision.models.get_model(network, weights=None).state_dict(), folder / "w.pth")
    return folder / "w.pth"


def cosines(name, folder):
    """Return mean and worst cosine to the script's features."""
    if not (folder / "script.npy").is_file():
        return {}
    a, b = (np.load(folder / f"{x}.npy").astype(np.float64) for x in (name, "script"))
    if a.shape != b.shape:
        return {"shape": list(a.shape)}
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return {"mean_cosine": float(cosine.mean()), "worst_cosine": float(cosine.min())}


def ratio(seconds, name, other):
    """Return how many times as fast as another, the median of the rounds."""
    return round(float(np.median(np.divide(seconds[other], seconds[name]))), 3)


def figures_of(seconds, ready, args):
    """Return the figures of all contenders, the best peer, and what featx loses."""
    peers = [name for name in seconds if not is_ours(name)]
    best = min(peers, key=lambda name: np.median(seconds[name]), default=None)
    figures = {}
    for name, times in seconds.items():
        figures[name] = {
            "images_per_second": round(args.n / float(np.median(times)), 2),
            "ready_seconds": round(ready[name], 1),
            **({"ratio_to_best_peer": ratio(seconds, name, best)} if best else {}),
            **cosines(name, args.folder),
        }
        if is_ours(name):
            figures[name]["ratios"] = {peer: ratio(seconds, name, peer) for peer in peers}
    losses = [
        f"{name} beside {peer}: {x} times as fast"
        for name in figures
        for peer, x in figures[name].get("ratios", {}).items()
        if x < 1
    ]
    return {"best_peer": best, "contenders": figures, "lost": losses}


def show(found):
    """Print a line for each contender, the ratios of featx, and what it loses."""
    print(f"\n{'':24}images/s  to best peer  cosine: mean   worst  differs in")
    for name, f in found["contenders"].items():
        print(
            f"{name:24}{f['images_per_second']:8}{f.get('ratio_to_best_peer', ''):>14}"
            f"{f.get('mean_cosine', np.nan):14.5f}{f.get('worst_cosine', np.nan):8.4f}"
            f"  {CONTENDERS[name][2]}{'; shape ' + str(f['shape']) if 'shape' in f else ''}"
        )
    for name, f in found["contenders"].items():
        if "ratios" in f:
            each = ", ".join(f"{peer} {x}" for peer, x in f["ratios"].items())
            print(f"{name}, times as fast as: {each}")
    print(f"best peer: {found['best_peer']}")
    print("lost:", *(found["lost"] or ["nothing"]), sep="\n  ")


def main():
    """Run all, or be one contender."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=300, help="images, evenly over all sets")
    parser.add_argument("--network", choices=TIMM, default="mobilenet_v2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large", action="store_true", help=f"images of {LARGE_PX} px")
    parser.add_argument("--dry", action="store_true", help="print, and keep nothing")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS)
    parser.add_argument("--envs", type=Path, default=Path(tempfile.gettempdir()) / "featx-peers")
    parser.add_argument("--contender", choices=CONTENDERS, help="be this one's process")
    parser.add_argument("--folder", type=Path, help="of the contender's images")
    parser.add_argument("--weights", help="of the contender's network")
    args = parser.parse_args()
    if args.contender:
        return contend(args)
    from common import keep, need_assets

    need_assets()
    args.envs.mkdir(parents=True, exist_ok=True)
    load = load_before()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        args.folder = Path(name)
        args.n = photographs(args.n, args.folder, large=args.large)
        args.weights = weights_of(args.network, args.folder)
        children, ready = started(stack, args)
        found = figures_of(rounds_of(children, args), ready, args)
    show(found)
    if not args.dry:
        packages = [pins.split()[0] for pins in ENVS.values()]
        settings = {"n_images": args.n, "repeats": args.repeats, "load_before": load}
        section = f"peers, {args.network}{', large' if args.large else ''}"
        if args.only:
            section += f", only {', '.join(args.only)}"
        keep(section, settings | {"packages": packages} | found)
    return None


if __name__ == "__main__":
    main()
