"""What a reader process does: read images that come in on stdin, send them back on stdout.

It has no terminal and shares nothing with its parent but two pipes and memory without a name, so
it leaves nothing behind when either is killed. The parent's end of stdin closes with the parent,
which ends the reader. A decoder that hangs is ended by the parent (`featx.images.pool`), and
once it has computed for so long by the kernel, so that it does not outlive a killed parent.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import struct
import warnings
from collections.abc import Sequence
from typing import IO, Any

from featx.errors import FeatxError
from featx.images._shared import Placed, SharedMemory
from featx.images.inputs import ImageSource
from featx.images.reader import Preprocessor, ReadImage, read_image

__all__ = ["FirstMessage", "Sent", "receive", "send", "work"]

FirstMessage = tuple[bytes, float, int | None, int | None]
"""A preprocessor pickled, seconds for an image, bytes of memory, and the shared memory's file."""

Sent = tuple[ReadImage, tuple[Placed, ...]]
"""A result, and where its views lie if it has none."""

LENGTH = struct.Struct("<Q")
HAS_ALARM = hasattr(signal, "setitimer")  # not on Windows


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one message.

    Raises
    ------
    EOFError
        If the other side is gone.
    """
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    (n_bytes,) = LENGTH.unpack(head)
    data = stream.read(n_bytes)
    if len(data) < n_bytes:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - from the process at the other end of our own pipe


def work() -> None:
    """Serve one parent until it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    if HAS_ALARM:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    inbound, outbound = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # a library that prints must not end up among the messages
        os.dup2(null, descriptor)
    try:
        _serve(inbound, outbound)
    except (EOFError, OSError):
        os._exit(0)  # the parent is gone, and with it whoever would read the rest


def _serve(inbound: IO[bytes], outbound: IO[bytes]) -> None:
    blob, timeout_s, memory_bytes, descriptor = receive(inbound)
    if memory_bytes is not None:
        _limit_memory(memory_bytes)
    shared = None if descriptor is None else SharedMemory(descriptor)
    try:
        preprocessor = pickle.loads(blob)  # noqa: S301 - our parent's own object
    except Exception as err:  # noqa: BLE001 - anything that a user's module raises on import
        send(outbound, f"{type(err).__name__}: {err}")
        return
    send(outbound, None)
    while True:
        sources = receive(inbound)
        try:
            answer: Any = _read_all(sources, preprocessor, timeout_s, shared)
        except FeatxError as err:
            answer = err
        send(outbound, answer)


def _limit_memory(n_bytes: int) -> None:
    """Have allocations beyond a limit fail, which ends an image rather than the machine's work."""
    try:
        import resource
    except ImportError:  # Windows
        return
    # What a process writes itself; the code of libraries and shared memory do not count.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _read_all(
    sources: Sequence[ImageSource],
    preprocessor: Preprocessor,
    timeout_s: float,
    shared: SharedMemory | None,
) -> list[Sent]:
    answer: list[Sent] = []
    if shared is not None:
        shared.clear()
    for position, source in enumerate(sources):
        if shared is not None:
            shared.position = position
        _alarm_in(timeout_s)
        result = read_image(source, preprocessor)
        _alarm_in(0.0)
        placed = None if shared is None or result.views is None else shared.put(result.views)
        if placed is not None:
            result = dataclasses.replace(result, views=None)
        answer.append((result, placed or ()))
    return answer


def _alarm_in(seconds: float) -> None:
    """Have the kernel end this process after so much time on a processor, pauses left out."""
    if HAS_ALARM:
        signal.setitimer(signal.ITIMER_PROF, seconds)
