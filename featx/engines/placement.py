"""Where a network runs, in which arithmetic, and by which engine; nothing falls back silently."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass, field

import torch

from featx.engines._forks import has_lost_threads
from featx.engines.graphs import import_openvino
from featx.errors import MissingDependencyError, ParameterError, choose, nearest

__all__ = [
    "ENGINES",
    "INT8",
    "Placement",
    "Precision",
    "choose_device",
    "has_bfloat16",
    "place",
    "require_able",
    "why_not_openvino",
    "why_not_precision",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
INT8 = "int8"
ENGINES = ("auto", "torch", "compile", "openvino")
OPENVINO_DTYPES = ("float32", "bfloat16")
_INT8_NAME = re.compile(r"int8\((float32|bfloat16), nncf (\S+)\)")


@dataclass(frozen=True)
class Precision:
    """The arithmetic of a network; its text is what a recipe holds.

    Parameters
    ----------
    rest : {"float32", "bfloat16", "float16"}
        What is computed in, with int8 whatever is not quantised.
    nncf : str, optional
        Version of the quantiser of int8, on which the features depend; None for no int8.

    Examples
    --------
    >>> print(Precision("bfloat16"), Precision("bfloat16", "3.4.0"), sep="; ")
    bfloat16; int8(bfloat16, nncf 3.4.0)
    """

    rest: str
    nncf: str | None = None

    def __str__(self) -> str:
        return self.rest if self.nncf is None else f"int8({self.rest}, nncf {self.nncf})"

    @classmethod
    def parse(cls, text: str, device: torch.device) -> Precision:
        """Read a precision; "auto" is bfloat16 where the device has it natively, else float32.

        Raises
        ------
        ParameterError
            If there is no such precision, or it names another version of nncf than is installed.
        MissingDependencyError
            If it is "int8" and nncf is not installed.
        """
        if text == "auto":
            return cls("bfloat16" if has_bfloat16(device) else "float32")
        if str(text).startswith(INT8):
            return cls._parse_int8(text, device)
        return cls(choose("precision", text, ("auto", *DTYPES, INT8)))

    @classmethod
    def _parse_int8(cls, text: str, device: torch.device) -> Precision:
        try:
            installed = importlib.metadata.version("nncf")
        except importlib.metadata.PackageNotFoundError:
            raise MissingDependencyError(
                "precision 'int8' needs the packages 'nncf' and 'openvino', of which nncf is not "
                "installed; install them with: pip install 'featx[int8]'"
            ) from None
        if text == INT8:
            return cls(cls.parse("auto", device).rest, installed)
        named = _INT8_NAME.fullmatch(text)
        if named is None:
            raise ParameterError(
                f"precision: got {text!r}, expected 'int8', or a recipe's "
                "'int8(float32, nncf VERSION)'"
            )
        if named[2] != installed:
            raise ParameterError(
                f"precision: got {text!r}, but nncf {installed} is installed, which may quantise "
                f"otherwise; expected the version that made the features: pip install "
                f"nncf=={named[2]}, or extract again with precision 'int8'"
            )
        return cls(named[1], installed)

    @property
    def is_int8(self) -> bool:
        """Whether the network is quantised to eight-bit integers."""
        return self.nncf is not None

    @property
    def dtype(self) -> torch.dtype:
        """What torch computes in; what is quantised starts from float32."""
        return torch.float32 if self.is_int8 else DTYPES[self.rest]


@dataclass(frozen=True)
class Placement:
    """Where a network runs, in which arithmetic, and by which engine. Made by `place`.

    Parameters
    ----------
    device : torch.device
        One that is there.
    precision : Precision
        What the network computes in.
    engine : {"auto", "torch", "compile", "openvino"}
        What was asked for; "auto" is decided when it is known how many images there are.
    reason : str
        Why it computes in this precision, for people.
    """

    device: torch.device
    precision: Precision
    engine: str
    reason: str = field(compare=False)


def place(device: str = "auto", precision: str = "auto", engine: str = "auto") -> Placement:
    """Settle where a network runs, in which arithmetic, and by which engine; loads nothing.

    Parameters and errors are those of `load_backbone`.

    Examples
    --------
    >>> placement = place("cpu", "float32")
    >>> placement.device, str(placement.precision), placement.reason
    (device(type='cpu'), 'float32', 'as asked for')
    """
    choose("engine", engine, ENGINES)
    if engine == "auto" and str(precision).startswith(INT8):
        engine = "openvino"
    where = choose_device("cpu" if device == "auto" and engine == "openvino" else device)
    chosen = Precision.parse(precision, where)
    reason = "as asked for"
    if precision == "auto":
        verb = "computes" if chosen.rest == "bfloat16" else "does not compute"
        reason = f"auto: device {str(where)!r} {verb} bfloat16 natively"
    return require_able(Placement(where, chosen, engine, reason))


def choose_device(device: str) -> torch.device:
    """Turn "auto", "cpu", "cuda", "cuda:1", ... into a device that is there.

    Raises
    ------
    ParameterError
        If there is no such device. The CPU never stands in for a GPU that was asked for.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise ParameterError(
            f"device: got {device!r}, expected 'auto', 'cpu', 'cuda' or 'cuda:N'."
            f"{nearest(str(device), ('auto', 'cpu', 'cuda', 'mps'))}"
        ) from None
    if chosen.type == "cuda":
        n = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= n:
            raise ParameterError(
                f"device: got {device!r}, but torch {torch.__version__} sees {n} CUDA devices; "
                "expected one that is there: use 'auto' or 'cpu', or install a torch with CUDA "
                "and its driver"
            )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ParameterError(f"device: got {device!r}, but torch has no MPS here; use 'cpu'")
    return chosen


def why_not_precision(precision: str, device: str) -> str | None:
    """Return why a device should not go on with features of a precision, or None.

    bfloat16 is computed everywhere, by rounding where there is none. What else depends on
    installed packages, `place` says.
    """
    kind = torch.device(device).type
    if precision.startswith(INT8) and kind != "cpu":
        return f"device {device!r} does not compute int8"
    if precision == "float16" and kind == "cpu":
        has_float16 = getattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", lambda: False)()
        return None if has_float16 else f"device {device!r} does not compute float16 natively"
    return None


def why_not_openvino(placement: Placement) -> str | None:
    """Return why "auto" does not take OpenVINO for any number of images, or None."""
    if placement.device.type != "cpu":
        return f"runs on {placement.device}"
    if placement.precision.rest not in OPENVINO_DTYPES:
        return f"computes in {placement.precision}"
    if has_lost_threads("openvino"):
        return "openvino has run in the process that this one was forked from"
    if importlib.util.find_spec("openvino") is None:
        return "openvino is not installed (pip install 'featx[openvino]')"
    return None


def require_able(placement: Placement) -> Placement:
    """Refuse an engine that cannot do what is asked of it, or is not installed."""
    device, precision, engine = placement.device, placement.precision, placement.engine
    if precision.is_int8 and (engine != "openvino" or device.type != "cpu"):
        raise ParameterError(
            f"precision: got 'int8' with engine {engine!r} on device {str(device)!r}, expected "
            "engine 'openvino' on device 'cpu', the only one that computes in it"
        )
    if engine != "openvino":
        return placement
    if device.type != "cpu":
        raise ParameterError(
            f"engine: got 'openvino' with device {str(device)!r}, expected device 'cpu', the only "
            "one it runs on here; use engine 'torch' for another"
        )
    if precision.rest not in OPENVINO_DTYPES:
        raise ParameterError(
            f"engine: got 'openvino' with precision '{precision}', expected one of "
            f"{', '.join(OPENVINO_DTYPES)}, int8; use engine 'torch' for another"
        )
    import_openvino()
    return placement


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device computes bfloat16 natively."""
    if device.type == "cuda":
        # is_bf16_supported() says yes to emulation too; tensor cores have it since Ampere.
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        # Not every release has every one of these; absent means not known, so float32.
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
    return False
