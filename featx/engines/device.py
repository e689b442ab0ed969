"""Where to run and in which arithmetic; nothing falls back silently."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import torch

from featx.engines._int8 import INT8, int8_name, is_int8
from featx.errors import ParameterError, nearest

__all__ = [
    "PrecisionChoice",
    "choose_device",
    "choose_precision",
    "must_round",
    "resolve_precision",
    "settle_device",
    "torch_dtype",
    "why_not_precision",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def torch_dtype(precision: str) -> torch.dtype:
    """Return what torch computes in; what is quantised to int8 starts from float32."""
    return torch.float32 if is_int8(precision) else DTYPES[precision]


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


@dataclass(frozen=True)
class PrecisionChoice:
    """What a network computes in, and why.

    Parameters
    ----------
    name : {"float32", "bfloat16", "float16", "int8(REST, nncf VERSION)"}
        The precision.
    reason : str
        For people, for example "as asked for".
    """

    name: str
    reason: str


def resolve_precision(
    precision: str, *, device: str = "auto", engine: str = "auto"
) -> PrecisionChoice:
    """Say what a network would compute in, without loading it.

    Parameters and errors are those of `load_backbone`.

    Examples
    --------
    >>> resolve_precision("float32")
    PrecisionChoice(name='float32', reason='as asked for')
    """
    where = settle_device(device, precision, engine)
    name = choose_precision(precision, where)
    if precision != "auto":
        return PrecisionChoice(name, "as asked for")
    verb = "computes" if name == "bfloat16" else "does not compute"
    return PrecisionChoice(name, f"auto: device {str(where)!r} {verb} bfloat16 natively")


def settle_device(device: str, precision: str, engine: str) -> torch.device:
    """Return the device: "auto" is the CPU for an engine or a precision that runs there only."""
    is_cpu = engine == "openvino" or (engine == "auto" and is_int8(precision))
    return choose_device("cpu" if is_cpu and device == "auto" else device)


def choose_precision(precision: str, device: torch.device) -> str:
    """Turn "auto" into bfloat16 where the device computes it natively, else float32.

    "int8" becomes the full name, with the quantiser's version.

    Raises
    ------
    ParameterError
        If there is no such precision.
    MissingDependencyError
        If it is "int8" and there is no quantiser.
    """
    if precision == "auto":
        return "bfloat16" if _has_bfloat16(device) else "float32"
    if is_int8(precision):
        return int8_name(precision, choose_precision("auto", device))
    if precision not in DTYPES:
        names = ["auto", *DTYPES, INT8]
        raise ParameterError(
            f"precision: got {precision!r}, expected {', '.join(map(repr, names))}."
            f"{nearest(str(precision), names)}"
        )
    return precision


def why_not_precision(precision: str, device: str) -> str | None:
    """Return why a device should not compute in a precision, or None.

    bfloat16 is computed everywhere, by rounding where there is none. What else depends on
    installed packages, `load_backbone` says.
    """
    if precision == "float16" and torch.device(device).type == "cpu":
        check = getattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", lambda: False)
        if not check():
            return f"device {device!r} does not compute float16 natively"
    if is_int8(precision) and torch.device(device).type != "cpu":
        return f"device {device!r} does not compute int8"
    return None


def must_round(dtype: torch.dtype, device: torch.device) -> bool:
    """Tell whether bfloat16 is best done by rounding float32: on x86 that does not compute it."""
    is_x86 = device.type == "cpu" and platform.machine().lower() in ("x86_64", "amd64")
    return dtype is torch.bfloat16 and is_x86 and not _has_bfloat16(device)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        # is_bf16_supported() says yes to emulation too; tensor cores have it since Ampere.
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        # Not every release has every one of these; absent means not known, so float32.
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
    return False
