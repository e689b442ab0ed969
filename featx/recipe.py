"""What a table of features was made with: every field that changes a number in it.

A `Recipe` is the key of a table in a store. Its fingerprint is a hash of its fields, so that
features of two recipes can never be taken for one another. What does not change a feature beyond
the published tolerance (device, engine, batch size, worker count) is not part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from featx._repr import FieldTable, OneLine
from featx.errors import FileFormatError, FingerprintMismatchError, one_line
from featx.fingerprint import json_digest

__all__ = [
    "Decode",
    "Preprocessing",
    "Recipe",
    "describe_differences",
    "require_same_recipe",
    "short_value",
    "tell_apart",
]

RECIPE_FORMAT = 1
OPTIONS = ("layer", "pooling", "augment", "precision")  # fields that an option sets as they are
Decode = Literal["reduced", "full"]


@dataclass(frozen=True, repr=False)
class Preprocessing(OneLine):
    """How a decoded RGB image becomes the network's input.

    Parameters
    ----------
    resize_px : int or None
        Length of the shorter side after resizing, in pixels; None leaves the size as it is.
        Cost grows with its square where `crop_px` is None.
    crop_px : int or None
        Side of the centre crop, in pixels; None keeps the whole image (then sizes differ from
        image to image and each is a batch of its own).
    interpolation : {"bilinear", "bicubic", "lanczos", "nearest", "box", "hamming"}
        Pillow's filter, antialiased.
    mean, std : tuple of 3 float
        Per channel, for pixels scaled to [0, 1], in RGB order.
    decode : {"reduced", "full"}
        "reduced" lets the JPEG decoder shrink by 2, 4 or 8 as far as the target size allows
        (`PIL.Image.draft`), which is faster; "full" decodes every pixel.
    transform : str or None
        Description of a user's own transform, which then stands in for all other fields.
    squash : bool
        Whether resizing stretches the image to a square of `resize_px`, whatever its shape.
    """

    resize_px: int | None = 256
    crop_px: int | None = 224
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    decode: Decode = "reduced"
    transform: str | None = None
    squash: bool = False

    @property
    def summary(self) -> str:
        """What the images become, in a few words.

        Examples
        --------
        >>> Preprocessing().summary
        'a crop of 224 px from 256 px, bilinear'
        """
        if self.transform is not None:
            return "what a transform of your own makes"
        crop = "whole images" if self.crop_px is None else f"a crop of {self.crop_px} px"
        size = "their own size" if self.resize_px is None else f"{self.resize_px} px"
        shape = ", stretched to a square" if self.squash else ""
        return f"{crop} from {size}{shape}, {self.interpolation}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serialisable dict.

        `squash` only where it is true, so that recipes from before it keep their fingerprints.
        """
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}
        return fields if self.squash else {k: v for k, v in fields.items() if k != "squash"}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Preprocessing:
        """Rebuild from `to_dict`'s result."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
        }
        return cls(**values)


@dataclass(frozen=True, repr=False)
class Recipe(FieldTable):
    """Everything that changes a feature vector, except the image.

    Parameters
    ----------
    backbone : str
        Name of the network, as `featx.list_backbones` has it, or ``module:Class`` of your own.
    weights : str
        SHA-256 of the network's parameters and buffers (`featx.backbones`), 64 hex digits.
    layer : str
        Where the feature is read: a module's dotted name, or "penultimate".
    pooling : str
        How a map becomes a vector, for example "avg" or "gem(3)".
    preprocessing : Preprocessing
        From image to network input.
    augment : str
        "none", "hflip", "multi-scale", "ten-crop", "sixteen-view" or "patches(L)", of a network
        with patches of 14 px "multi-scale(14)"; with
        ":keep" the views' vectors are concatenated, else averaged.
    precision : {"float32", "bfloat16", "float16", "int8(REST, nncf VERSION)"}
        Arithmetic of the network. Vectors are stored in `dtype`.
    n_features : int
        Length of a vector.
    dtype : {"float32", "float16"}
        Type of the stored vectors.

    Examples
    --------
    >>> recipe = Recipe(backbone="resnet18", weights="0" * 64, layer="penultimate", pooling="none",
    ...                 preprocessing=Preprocessing(), augment="none", precision="float32",
    ...                 n_features=512)
    >>> Recipe.from_dict(recipe.to_dict()) == recipe
    True
    >>> len(recipe.fingerprint)
    16
    """

    backbone: str
    weights: str
    layer: str
    pooling: str
    preprocessing: Preprocessing
    augment: str
    precision: str
    n_features: int
    dtype: str = "float32"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serialisable dict, with the recipe format's version."""
        fields = {**vars(self), "preprocessing": self.preprocessing.to_dict()}
        return {**fields, "recipe_format": RECIPE_FORMAT}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Recipe:
        """Rebuild from `to_dict`'s result.

        Raises
        ------
        FileFormatError
            If a field is missing or unknown.
        """
        fields = dict(fields)
        version = fields.pop("recipe_format", None)
        if version != RECIPE_FORMAT:
            raise FileFormatError(
                f"recipe: got format {version!r}, expected {RECIPE_FORMAT}; "
                "it was written by another version of featx: upgrade with pip install -U featx"
            )
        try:
            preprocessing = Preprocessing.from_dict(fields.pop("preprocessing"))
            return cls(preprocessing=preprocessing, **fields)
        except (KeyError, TypeError, AttributeError) as err:
            reason = one_line(err)
            raise FileFormatError(f"recipe: {reason}; the file that holds it is damaged") from err

    def _repr_fields(self) -> dict[str, Any]:
        names = ("backbone", "layer", "pooling", "augment", "precision", "n_features")
        return {**{name: getattr(self, name) for name in names}, "fingerprint": self.fingerprint}

    @property
    def fingerprint(self) -> str:
        """16 hex digits (64 bits of SHA-256) over every field."""
        return json_digest(self.to_dict())[:16]

    def differences(self, other: Recipe) -> dict[str, tuple[Any, Any]]:
        """Return ``{field: (mine, other's)}`` for the fields that differ.

        Examples
        --------
        >>> import dataclasses
        >>> a = Recipe("resnet18", "0" * 64, "penultimate", "none", Preprocessing(), "none",
        ...            "float32", 512)
        >>> a.differences(dataclasses.replace(a, pooling="avg"))
        {'pooling': ('none', 'avg')}
        """
        mine, theirs = _flat(self.to_dict()), _flat(other.to_dict())
        keys = [k for k in {**mine, **theirs} if mine.get(k) != theirs.get(k)]
        return {k: (mine.get(k), theirs.get(k)) for k in keys}


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    nested = fields.pop("preprocessing")
    return {**fields, **{f"preprocessing.{k}": v for k, v in nested.items()}}


def describe_differences(found: Recipe, expected: Recipe) -> str:
    """Name the fields that differ, with both values.

    Examples
    --------
    >>> import dataclasses
    >>> a = Recipe("resnet18", "0" * 64, "penultimate", "none", Preprocessing(), "none",
    ...            "float32", 512)
    >>> describe_differences(a, dataclasses.replace(a, precision="bfloat16"))
    "precision: got 'float32', expected 'bfloat16'"
    """
    return ", ".join(
        f"{name}: got {short_value(a)}, expected {short_value(b)}"
        for name, (a, b) in found.differences(expected).items()
    )


def tell_apart(recipes: Sequence[Recipe]) -> list[str]:
    """Describe recipes by the fields in which they differ from one another.

    The width follows from the rest, and is named only where nothing else differs.

    Examples
    --------
    >>> import dataclasses
    >>> a = Recipe("resnet18", "0" * 64, "layer3", "avg", Preprocessing(), "none", "float32", 256)
    >>> tell_apart([a, dataclasses.replace(a, layer="layer4", n_features=512)])
    ["layer 'layer3'", "layer 'layer4'"]
    """
    flat = [_flat(recipe.to_dict()) for recipe in recipes]
    names = (
        [name for name in flat[0] if any(f[name] != flat[0][name] for f in flat)] if flat else []
    )
    names = [name for name in names if name != "n_features"] or names
    return [", ".join(f"{name} {short_value(f[name])}" for name in names) for f in flat]


def require_same_recipe(
    found: Recipe | None, expected: Recipe | None, *, thing: str, maker: str
) -> None:
    """Refuse features of another recipe.

    Parameters
    ----------
    found, expected : Recipe or None
        None where the features were made outside featx; then only `None` fits `None`-or-anything,
        since nothing is known that could disagree.
    thing : str
        What holds the features that were given, for the message, for example ``"test.h5"``.
    maker : str
        What expects the other recipe, for example ``"model flowers.featx"``.

    Raises
    ------
    FingerprintMismatchError
        With every differing field and both its values.

    Examples
    --------
    >>> import dataclasses
    >>> a = Recipe("resnet18", "0" * 64, "layer4", "avg", Preprocessing(), "none", "float32", 256)
    >>> b = dataclasses.replace(a, augment="hflip")
    >>> require_same_recipe(a, b, thing="test.h5", maker="model m")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    featx.errors.FingerprintMismatchError: test.h5: ... (--augment hflip on the command line)...
    """
    if found is None or expected is None or found.fingerprint == expected.fingerprint:
        return
    raise FingerprintMismatchError(
        f"{thing}: features of recipe {found.fingerprint} do not fit {maker}, which was made with "
        f"recipe {expected.fingerprint} ({describe_differences(found, expected)}); extract again "
        f"with the expected settings{_name_options(found, expected)}, or make the "
        f"{maker.split()[0]} again from these features"
    )


def _name_options(found: Recipe, expected: Recipe) -> str:
    """Return options of the command line that give the expected recipe, where they all do."""
    differences = found.differences(expected)
    if not set(differences) <= set(OPTIONS) | {"n_features"}:
        return ""
    words = [f"--{name} {wanted}" for name, (_, wanted) in differences.items() if name in OPTIONS]
    return f" ({' '.join(words)} on the command line)" if words else ""


def short_value(value: Any) -> str:
    """Return a field's value for a message: of a digest the beginning."""
    text = repr(value)
    return f"{text[:10]}...'" if isinstance(value, str) and len(value) == 64 else text
