"""Read weights files, fit them to a network, and identify a network by its weights."""

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


def load_into(
    module: nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    thing: str,
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
    thing : str
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
    own = module.state_dict()
    state = _without_prefix(state, own, head=head, thing=thing)
    state = {k: v for k, v in state.items() if not k.startswith(tuple(ignored) or ("\0",))}
    optional = {k for k in own if k.endswith(".num_batches_tracked")}
    missing = [k for k in own if k not in state and k not in optional]
    unexpected = [k for k in state if k not in own]
    misshapen = [k for k in own if k in state and own[k].shape != state[k].shape]
    head_keys = [k for k in own if head and k.startswith(f"{head}.")]
    wrong = {*missing, *misshapen}
    drops_head = bool(wrong) and wrong <= set(head_keys)
    if (wrong and not drops_head) or unexpected:
        raise WeightsError(_mismatch(thing, module, own, state, (missing, unexpected, misshapen)))
    kept = {k: v for k, v in state.items() if not (drops_head and k in head_keys)}
    _require_finite(thing, own, kept)
    if drops_head:
        assert head is not None
        parent, _, name = head.rpartition(".")
        setattr(module.get_submodule(parent), name, nn.Identity())
    module.load_state_dict({**{k: own[k] for k in optional}, **kept})
    return not drops_head


def _require_finite(
    thing: str, own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]
) -> None:
    """Refuse weights of a training that diverged: all features would be NaN, or all the same."""
    for name, tensor in state.items():
        if not tensor.is_floating_point() or tensor.isfinite().all():
            continue
        if own[name].isfinite().all():  # else it is a mask, in which the network has -inf itself
            n = int((~tensor.isfinite()).sum())
            raise WeightsError(
                f"{thing}: tensor {name!r} has {n} of {tensor.numel()} numbers that are NaN or "
                "infinite, expected finite ones; take weights from before the training diverged"
            )


def state_digest(module: nn.Module) -> str:
    """Hash every parameter and buffer that a forward pass in eval mode can read.

    Returns
    -------
    str
        64 hexadecimal digits: SHA-256 over name, dtype, shape and bytes, in order of names. The
        same for the same tensors from any kind of file.
    """
    digest = hashlib.sha256()
    state = module.state_dict()
    for name in sorted(state):
        tensor = state[name]
        if name.endswith("num_batches_tracked") or not isinstance(tensor, torch.Tensor):
            continue
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _without_prefix(
    state: Mapping[str, torch.Tensor],
    own: Mapping[str, torch.Tensor],
    *,
    head: str | None,
    thing: str,
) -> Mapping[str, torch.Tensor]:
    """Drop what wrappers put before every name, where the network's own names show it."""
    if any(name in own for name in state):
        return state
    counts = Counter(
        name[: at + 1]
        for name in state
        for at, letter in enumerate(name)
        if letter == "." and name[at + 1 :] in own
    )
    needed = {
        k for k in own
        if not k.endswith(".num_batches_tracked") and not (head and k.startswith(f"{head}."))
    }  # fmt: skip
    fits = [p for p, n in counts.items() if n >= len(needed) and needed <= _below(p, state).keys()]
    if len(fits) > 1:
        raise WeightsError(
            f"{thing}: holds {len(fits)} networks that fit, under {', '.join(map(repr, fits))}, "
            "expected one; save the one you mean by itself"
        )
    return _below(fits[0], state) if fits else state


def _below(prefix: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _mismatch(
    thing: str,
    module: nn.Module,
    own: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    problems: tuple[list[str], list[str], list[str]],
) -> str:
    missing, unexpected, misshapen = problems
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_some(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({_some(unexpected)})")
    if misshapen:
        shapes = [
            f"{k} got {tuple(state[k].shape)}, expected {tuple(own[k].shape)}" for k in misshapen
        ]
        parts.append(f"{len(misshapen)} of another shape ({_some(shapes)})")
    return (
        f"{thing}: does not fit {type(module).__name__}: of {len(own)} tensors {'; '.join(parts)};"
        " name the backbone that these weights were trained for"
    )


def _some(names: list[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
