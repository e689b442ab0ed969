"""Options that stand for parameters of the library, and the way back to its values.

Names, types and defaults are read from the signature of a class or function, so that each is
written once. An option that the user left out is not in the namespace: the library's default
holds, and a preset knows which of its settings were overruled. Scripts can use it, too:

>>> from featx.extraction import Encoder
>>> parser = argparse.ArgumentParser()
>>> add_options(parser, Encoder, ["backbone", "layers", "crop_px"])
>>> args = parser.parse_args(["--layer", "blocks.5", "--layer", "blocks.13", "--crop", "96"])
>>> encoder = read_options(args, Encoder, augment="hflip")
>>> encoder.layers, encoder.augment, encoder.crop_px
(('blocks.5', 'blocks.13'), 'hflip', 96)
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from featx.estimators import Preset

__all__ = [
    "ENCODER",
    "RUN",
    "add_labels",
    "add_moved_weights",
    "add_options",
    "add_preset",
    "add_sources",
    "add_table",
    "as_source",
    "read_options",
    "read_preset",
]

T = TypeVar("T")

# What an encoder's and a run's fields are called where the option is not the field's name, and
# what help says of them beside the default.
FLAGS = {"layers": "--layer", "poolings": "--pooling", "resize_px": "--resize",
         "crop_px": "--crop", "n_images": "--images", "n_folds": "--folds",
         "cors_origins": "--cors-origin"}  # fmt: skip
HELP = {
    "backbone": "a network; featx backbones lists them, and featx_base needs no download",
    "weights": "a .pth or .safetensors file, or the name of published weights (default those that "
    "are published for the network)",
    "layers": "module to read, by its dotted name; may be given several times",
    "poolings": "avg, max, gem(3), spoc, crow, mac, rmac, cls, patch, cls+avg, flatten; may be "
    "given several times",
    "augment": "none, hflip, multi-scale, ten-crop, sixteen-view, patches(1-6); "
    "averaged, or kept side by side with ':keep'",
    "resize_px": "shorter side in pixels (default as the weights ask)",
    "crop_px": "side of the centre crop in pixels (default as the weights ask)",
    "decode": "reduced, which shrinks large JPEGs while decoding, or full",
    "precision": "auto, float32, bfloat16, float16 or int8",
    "device": "auto, cpu, cuda, cuda:1",
    "engine": "auto, torch, compile, or openvino on a CPU",
    "batch_size": "images per forward pass (default 32, on a GPU 256)",
    "workers": "reader processes (default one per core)",
    "max_pixels": "largest image that is decoded, width x height (default 178956970)",
}
ENCODER = ("backbone", "weights", "layers", "poolings", "augment", "resize_px", "crop_px",
           "decode", "precision")  # fmt: skip
RUN = ("device", "engine", "batch_size", "workers", "max_pixels")
METAVARS = {"int": "N", "float": "X", "backbone": "NAME", "weights": "FILE"}
SEVERAL = {"layers": "NAME", "poolings": "NAME", "cors_origins": "URL"}


def add_options(
    parser: Any, owner: Callable[..., Any], names: Iterable[str], **texts: str
) -> None:
    """Add an option for each of some parameters.

    Parameters
    ----------
    parser : argparse.ArgumentParser or a group of one
    owner : callable
        The class or function whose parameters they are.
    names : iterable of str
        Parameters that `HELP` describes.
    **texts : str
        Further parameters, or other descriptions of these.
    """
    signature = inspect.signature(owner).parameters
    for name in dict.fromkeys([*names, *texts]):
        default, text = signature[name].default, texts.get(name, HELP.get(name, ""))
        kind = str(signature[name].annotation).partition(" ")[0]
        if "default" not in text and not (default is None or kind == "bool" or default == ()):
            text += f" (default {default})"
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text}
        if kind == "bool":
            options["action"] = "store_true"
        elif name in SEVERAL:
            options |= {"action": "append", "metavar": SEVERAL[name]}
        elif kind.startswith("tuple"):
            options |= {"type": _split, "metavar": "A,B"}
        else:
            options["type"] = {"int": int, "float": float}.get(kind, str)
            options["metavar"] = METAVARS.get(kind, METAVARS.get(name, name.upper()))
        parser.add_argument(FLAGS.get(name, f"--{name.replace('_', '-')}"), **options)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def read_options(args: argparse.Namespace, owner: Callable[..., T], /, **base: Any) -> T:
    """Call a class or function with what the user gave of its parameters.

    Parameters
    ----------
    args : argparse.Namespace
    owner : callable
        As for `add_options`.
    **base : Any
        What holds where the user gave nothing, such as the fields that a preset sets.
    """
    names = inspect.signature(owner).parameters
    return owner(**base | {name: value for name, value in vars(args).items() if name in names})


def add_preset(parser: argparse.ArgumentParser, text: str) -> None:
    """Add --preset, and a line for each preset below the options."""
    from featx.estimators import PRESETS

    parser.add_argument(
        "--preset", metavar="NAME", default=argparse.SUPPRESS, help=f"{text}; see below"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(map(len, PRESETS))
    lines = [f"  {preset.name:{width}}  {preset.note}" for preset in PRESETS.values()]
    parser.epilog = "\n".join(["presets:", *lines])


def read_preset(args: argparse.Namespace) -> Preset:
    """Return the preset that was named, else "plain"."""
    from featx.estimators.presets import get_preset

    return get_preset(getattr(args, "preset", "plain"))


def add_sources(parser: argparse.ArgumentParser, *, also: str = "") -> None:
    """Add SOURCE...; `also` says what else it may be."""
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="a folder (the folder of an image is its label), an image, a glob, or a CSV with a "
        f"column 'path'{also}",
    )


def as_source(words: list[str]) -> str | list[str]:
    """Return one source by itself, several as a list."""
    return words[0] if len(words) == 1 else words


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add --table."""
    parser.add_argument(
        "--table",
        metavar="T",
        help="which table, if the store has several: its fingerprint, or how that begins",
    )


def add_labels(parser: argparse.ArgumentParser, *, attributes: bool = False) -> None:
    """Add --labels."""
    columns = "path and label" + (", or one per attribute" if attributes else "")
    parser.add_argument("--labels", metavar="L.csv", help=f"a CSV with the columns {columns}")


def add_moved_weights(parser: argparse._ActionsContainer) -> None:
    """Add where a saved recipe's network finds its weights."""
    parser.add_argument(
        "--weights", metavar="FILE", help="the weights file, if it has moved since the extraction"
    )
