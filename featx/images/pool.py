"""The parent's side of the reader processes: start them, feed them, outlive them.

Pipes rather than a pool from the standard library or loky: their locks are named semaphores under
/dev/shm, which stay there when the process group is killed, and a reader that dies breaks the
whole pool without saying which image killed it.

One thread counts how long each reader has been at its image, and ends it at the limit. Only time
in which this process and the reader were running counts: after Ctrl-Z, a suspended laptop or a
stopped container the clock has moved on, and the image has not been at fault.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

from featx.errors import FeatxError, ParameterError
from featx.images._shared import SharedMemory
from featx.images._worker import FirstMessage, Sent, receive, send
from featx.images.inputs import ImageSource
from featx.images.reader import Preprocessor, ReadImage, unread

__all__ = ["MAX_AT_ONCE", "TOO_LONG", "ReaderPool"]

TOO_LONG = "decoding took longer than"

MAX_DEATHS_PER_IMAGE = 2
MAX_FAILED_STARTS = 3
MAX_AT_ONCE = 16
TICK_S = 0.25
CAN_SHARE = os.name == "posix"  # elsewhere a process inherits no descriptors
START = "import sys; sys.path[:] = sys.argv[1:]; from featx.images._worker import work; work()"


class ReaderDiedError(Exception):
    """A reader process ended in the middle of its work, at the image of this position."""

    def __init__(
        self, status: int, *, was_started: bool, position: int = 0, was_late: bool = False
    ) -> None:
        super().__init__(status)
        self.status, self.was_started, self.position = status, was_started, position
        self.was_late = was_late or status == -getattr(signal, "SIGPROF", 0)


class ReaderProcess:
    """One reader: a Python process with two pipes, and memory where it leaves pixels.

    Attributes
    ----------
    n_at_once : int
        Images that it may be asked for together; one where a death would not say at which.
    """

    def __init__(self, blob: bytes, timeout_s: float, memory_bytes: int | None) -> None:
        # One thread each: the readers together are already as many as the cores.
        one_thread = dict.fromkeys(
            (
                "OMP_NUM_THREADS",
                "OPENBLAS_NUM_THREADS",
                "MKL_NUM_THREADS",
                "OPENCV_FOR_THREADS_NUM",
            ),
            "1",
        )
        descriptor = SharedMemory.create() if CAN_SHARE else None
        self._shared = None if descriptor is None else SharedMemory(descriptor)
        self.n_at_once = 1 if self._shared is None else MAX_AT_ONCE
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **one_thread},
                pass_fds=() if descriptor is None else (descriptor,),
            )
        finally:
            if descriptor is not None:
                os.close(descriptor)
        self._first: FirstMessage | None = (blob, timeout_s, memory_bytes, descriptor)
        self._timeout_s = timeout_s
        self._is_busy, self._is_late = False, False
        self._at, self._spent_s = 0, 0.0

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def read(self, sources: Sequence[ImageSource]) -> list[ReadImage]:
        """Return the result for each source, of at most `n_at_once`.

        Raises
        ------
        ReaderDiedError
            If the process ends before all results are in.
        """
        inbound, outbound = self._pipes()
        try:
            if self._first is not None:
                self._start(inbound, outbound)
            if self._shared is not None:
                self._shared.position = 0
            self._spent_s, self._is_busy = 0.0, True
            send(outbound, sources)
            answer = receive(inbound)
        except (EOFError, BrokenPipeError, ConnectionError) as err:
            self.kill()
            raise ReaderDiedError(
                self._process.returncode,
                was_started=self._first is None,
                position=self._position,
                was_late=self._is_late,
            ) from err
        finally:
            self._is_busy = False
        if isinstance(answer, FeatxError):
            raise answer
        return [self._take_views(sent) for sent in answer]

    def spend(self, seconds: float) -> None:
        """Count time for the image that is being read, and end the process at the limit."""
        if not self._is_busy or _is_stopped(self._process.pid):
            return
        if self._position != self._at:
            self._at, self._spent_s = self._position, 0.0
        self._spent_s += seconds
        if self._spent_s > self._timeout_s:
            self._is_late = True
            self._process.kill()  # whoever waits for its answer waits for its end

    @property
    def _position(self) -> int:
        """The image that is being read, of those asked for together."""
        return 0 if self._shared is None else self._shared.position

    def kill(self) -> None:
        """End the process now; it holds nothing that would need saving."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and close what is shared; only the thread that reads from it may."""
        self.kill()
        if self._shared is not None:
            self._shared.close()
        for pipe in self._pipes():
            try:
                pipe.close()
            except OSError:  # bytes for a reader that is gone
                continue

    def _take_views(self, sent: Sent) -> ReadImage:
        """Return a result with its views, which lie in the shared memory where they fit."""
        result, placed = sent
        if not placed:
            return result
        assert self._shared is not None
        return dataclasses.replace(result, views=self._shared.take(placed))

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        return self._process.stdout, self._process.stdin

    def _start(self, inbound: IO[bytes], outbound: IO[bytes]) -> None:
        send(outbound, self._first)
        problem = receive(inbound)
        if problem is not None:
            raise ParameterError(
                f"transform: got one that a reader process cannot load ({problem}), expected one "
                "that can be pickled; define it in an importable module, or pass workers=0"
            )
        self._first = None


class ReaderPool:
    """Readers behind as many threads, each of which feeds one reader and collects its results.

    Parameters
    ----------
    preprocessor : ImagePreprocessor or TransformPreprocessor
        Sent to each reader once.
    n_workers : int
        Number of processes; each takes about 40 MB and the image that it decodes.
    timeout_s : float
        Longest that one image may take, in seconds, before its reader is ended. Pauses of this
        process or the reader do not count.
    memory_bytes : int, optional
        Most that a reader may allocate, where the system holds it to that (Linux). An image that
        takes more is a bad one.
    tries : int, default 2
        Readers that may die of an image before it is given up. More than one, because the first
        death may have been an innocent bystander's: memory ran out for all, or somebody stopped
        the process by hand.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        n_workers: int,
        timeout_s: float,
        *,
        memory_bytes: int | None = None,
        tries: int = MAX_DEATHS_PER_IMAGE,
    ) -> None:
        self._blob, self._timeout_s = _pickle(preprocessor), timeout_s
        self._memory_bytes, self._tries = memory_bytes, tries
        self._threads = ThreadPoolExecutor(n_workers, thread_name_prefix="featx-reader")
        self._idle: queue.SimpleQueue[ReaderProcess] = queue.SimpleQueue()
        self._alive: set[ReaderProcess] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_watched, self._stop_watching = False, threading.Event()

    def submit(self, sources: Sequence[ImageSource]) -> Future[list[ReadImage]]:
        """Have a few images read, in order."""
        return self._threads.submit(self._read, sources)

    def pids(self) -> list[int]:
        """Return the process ids of the readers that live now."""
        with self._lock:
            return [reader.pid for reader in self._alive]

    def close(self) -> None:
        """End all readers, whatever they are doing."""
        with self._lock:
            self._is_closed = True
            for reader in self._alive:
                reader.kill()
        self._stop_watching.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for reader in self._alive:
            reader.close()
        self._alive.clear()

    def _read(self, sources: Sequence[ImageSource]) -> list[ReadImage]:
        """Read images on some reader; where one dies, go on with another, without the culprit."""
        results: list[ReadImage] = []
        deaths: Counter[int] = Counter()
        given_up: dict[int, str] = {}
        failed_starts = 0
        while len(results) < len(sources):
            start = len(results)
            if start in given_up:
                results.append(unread(sources[start], given_up[start]))
                continue
            reader = self._take()
            stops = [*given_up, len(sources), start + reader.n_at_once]
            end = min(stop for stop in stops if stop > start)
            try:
                results += reader.read(sources[start:end])
            except ReaderDiedError as err:
                self._drop(reader)
                if self._is_closed:
                    break
                if not err.was_started:
                    failed_starts += 1
                    _check_starts(failed_starts, err)
                    continue
                position = start + err.position
                deaths[position] += 1
                if deaths[position] == self._tries:
                    given_up[position] = self._reason(err)
            except BaseException:
                self._drop(reader)
                raise
            else:
                self._idle.put(reader)
        return results

    def _take(self) -> ReaderProcess:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            if self._is_closed:
                raise ReaderDiedError(0, was_started=False)
            reader = ReaderProcess(self._blob, self._timeout_s, self._memory_bytes)
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._watch, name="featx-watch", daemon=True).start()
            self._alive.add(reader)
        return reader

    def _watch(self) -> None:
        """Give each reader its share of the time that passes while this process runs."""
        before = time.monotonic()
        while not self._stop_watching.wait(TICK_S):
            now = time.monotonic()
            with self._lock:  # under which a reader that is dropped leaves before it is closed
                for reader in self._alive:
                    reader.spend(min(now - before, 2 * TICK_S))
            before = now

    def _drop(self, reader: ReaderProcess) -> None:
        with self._lock:
            self._alive.discard(reader)
        reader.close()

    def _reason(self, err: ReaderDiedError) -> str:
        if err.was_late:
            return f"{TOO_LONG} {self._timeout_s:g} s"
        how = f"signal {-err.status}" if err.status < 0 else f"exit status {err.status}"
        return f"the reader process died while decoding ({how})"


def _is_stopped(pid: int) -> bool:
    """Tell whether a child is stopped by a signal, where the system says so."""
    if not hasattr(os, "waitid"):
        return False
    try:
        flags = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, pid, flags) is not None
    except OSError:  # it has ended
        return False


def _check_starts(n_failed: int, err: ReaderDiedError) -> None:
    if n_failed == MAX_FAILED_STARTS:
        raise FeatxError(
            f"reader process: {sys.executable!r} ended {n_failed} times while starting, the last "
            f"time with status {err.status}, expected it to import featx; pass workers=0 to read "
            "in this process"
        )


def _pickle(preprocessor: Preprocessor) -> bytes:
    """Pickle by reference where that works, else by value (lambdas, notebooks, scripts)."""
    from featx.images.preprocess import ImagePreprocessor

    if isinstance(preprocessor, ImagePreprocessor):
        return pickle.dumps(preprocessor)
    from joblib import wrap_non_picklable_objects

    try:
        return pickle.dumps(wrap_non_picklable_objects(preprocessor, keep_wrapper=False))
    except Exception as err:
        raise ParameterError(
            f"transform: got one that cannot be pickled for the reader processes ({err}), "
            "expected a function or an object without open files and the like; or pass workers=0"
        ) from err
