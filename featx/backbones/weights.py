"""Fit the tensors of a weights file to a network, and identify a network by its weights."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from featx.backbones._weights_file import read_state_dict
from featx.errors import WeightsError

__all__ = ["load_into", "read_state_dict", "state_digest"]

SHOWN = 4
# Of batch norms, which older files do not have; nothing in eval mode reads it.
COUNTER = "num_batches_tracked"
State = Mapping[str, torch.Tensor]


def load_into(
    module: nn.Module,
    state: State,
    *,
    name: str,
    ignored: Iterable[str] = (),
    head: str | None = None,
) -> bool:
    """Load tensors into a network, strictly.

    Parameters
    ----------
    module : Module
        Changed in place.
    state : mapping of str to Tensor
        As `read_state_dict` gives it. What a wrapper has put before every name, such as "module."
        or "backbone.", is dropped, and so is what stands beside the network under other prefixes.
    name : str
        Where the tensors come from, for the message.
    ignored : iterable of str
        Prefixes of keys that may be there and are not used.
    head : str, optional
        The final classifier. Where only its tensors are missing or of another shape (a network
        fine-tuned on other classes), it is replaced by an identity: features do not pass it.

    Returns
    -------
    bool
        Whether the head was loaded too.

    Raises
    ------
    WeightsError
        With the tensors that are missing, unexpected, of another shape, or not finite; or if the
        names fit under two prefixes.
    """
    expected = module.state_dict()
    required = {k for k in expected if not k.endswith(f".{COUNTER}")}
    in_head = {k for k in expected if head and k.startswith(f"{head}.")}
    state = _strip_prefix(state, expected, required - in_head, name)
    state = {k: v for k, v in state.items() if not k.startswith(tuple(ignored) or ("\0",))}
    missing = [k for k in expected if k in required and k not in state]
    unexpected = [k for k in state if k not in expected]
    misshapen = [k for k in expected if k in state and expected[k].shape != state[k].shape]
    wrong = {*missing, *misshapen}
    if unexpected or wrong - in_head:
        problems = _describe_problems(expected, state, missing, unexpected, misshapen)
        raise WeightsError(
            f"{name}: does not fit {type(module).__name__}: of {len(expected)} tensors "
            f"{problems}; name the backbone that these weights were trained for"
        )
    if wrong:
        state = {k: v for k, v in state.items() if k not in in_head}
    _require_finite(name, expected, state)
    if wrong:
        parent, _, last = str(head).rpartition(".")
        setattr(module.get_submodule(parent), last, nn.Identity())
    counters = {k: v for k, v in expected.items() if k not in required}
    module.load_state_dict({**counters, **state})
    return not wrong


def _require_finite(name: str, expected: State, state: State) -> None:
    """Refuse weights of a training that diverged: all features would be NaN, or all the same."""
    for key, tensor in state.items():
        if not tensor.is_floating_point() or tensor.isfinite().all():
            continue
        if expected[key].isfinite().all():  # else it is a mask, in which the network has -inf
            n = int((~tensor.isfinite()).sum())
            raise WeightsError(
                f"{name}: tensor {key!r} has {n} of {tensor.numel()} numbers that are NaN or "
                "infinite, expected finite ones; take weights from before the training diverged"
            )


def _strip_prefix(state: State, expected: State, body: set[str], name: str) -> State:
    """Drop what wrappers put before every name, where the network's own names show it."""
    if any(key in expected for key in state):
        return state
    counts = Counter(
        key[: at + 1]
        for key in state
        for at, letter in enumerate(key)
        if letter == "." and key[at + 1 :] in expected
    )
    fits = [p for p, n in counts.items() if n >= len(body) and body <= _below(p, state).keys()]
    if len(fits) > 1:
        raise WeightsError(
            f"{name}: holds {len(fits)} networks that fit, under {', '.join(map(repr, fits))}, "
            "expected one; save only the one you mean"
        )
    return _below(fits[0], state) if fits else state


def _below(prefix: str, state: State) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _describe_problems(
    expected: State,
    state: State,
    missing: list[str],
    unexpected: list[str],
    misshapen: list[str],
) -> str:
    shapes = [
        f"{k} got {tuple(state[k].shape)}, expected {tuple(expected[k].shape)}" for k in misshapen
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    parts = []
    for kind, found in kinds.items():
        more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        if found:
            parts.append(f"{len(found)} {kind} ({', '.join(found[:SHOWN])}{more})")
    return "; ".join(parts)


def state_digest(module: nn.Module) -> str:
    """Hash every parameter and buffer that a forward pass in eval mode can read.

    Returns
    -------
    str
        64 hexadecimal digits: SHA-256 over name, dtype, shape and bytes, in order of names. The
        same for the same tensors from any kind of file.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith(COUNTER) or not isinstance(tensor, torch.Tensor):
            continue
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
