"""Reading ahead: order, bad images, variable sizes, and readers that die, hang or are orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featx.errors import FeatxError, ParameterError
from featx.fingerprint import array_digest, file_digest
from featx.images import ImagePreprocessor, pool
from featx.images.loader import default_workers, iter_batches
from featx.images.preprocess import TransformPreprocessor
from featx.images.reader import read_image
from featx.recipe import Preprocessing

PREPROCESSOR = ImagePreprocessor(Preprocessing(resize_px=20, crop_px=16))
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Forty small images; every seventh is bad."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    paths = []
    for i in range(40):
        path = folder / f"{i:02d}.png"
        if i % 7 == 3:
            path.write_bytes(b"junk")
        else:
            pixels = rng.integers(0, 256, (30, 24 + i % 2, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        paths.append(str(path))
    return [*paths, str(folder / "missing.png")]


def check(batches, sources, preprocessor):
    """Every source is read once, in order, and each view is that of its own image."""
    rows = []
    for batch in batches:
        assert len(batch.read) == len(batch.rows)
        rows += batch.rows.tolist()
        expected = [read_image(sources[row], preprocessor) for row in batch.rows]
        assert [r.error for r in batch.read] == [e.error for e in expected]
        assert [r.digest for r in batch.read] == [e.digest for e in expected]
        assert [r.mtime_ns for r in batch.read] == [e.mtime_ns for e in expected]
        good = [(row, e) for row, e in zip(batch.rows, expected, strict=True) if e.error is None]
        assert batch.good.tolist() == [row for row, _ in good]
        assert len(batch.failures) == len(batch.rows) - len(good)
        assert [r.digest for r in batch.good_read] == [e.digest for _, e in good]
        for i, (_, e) in enumerate(good):
            for view, mine in zip(e.views, batch.views, strict=True):
                np.testing.assert_array_equal(mine[i], view)
    assert rows == list(range(len(sources)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augment", ["none", "hflip"])
def test_bad_images_never_shift_good_ones(photos, workers, augment):
    preprocessor = ImagePreprocessor(PREPROCESSOR.preprocessing, augment)
    batches = list(iter_batches(photos, preprocessor, batch_size=8, workers=workers))
    assert [len(b.rows) for b in batches] == [8, 8, 8, 8, 8, 1]
    assert batches[-1].views == ()
    assert batches[-1].failures == ((40, "No such file"),)
    check(batches, photos, preprocessor)


@pytest.mark.parametrize("workers", [0, 2])
def test_sizes_that_vary_are_split_into_runs_of_one_size(photos, workers):
    preprocessor = ImagePreprocessor(Preprocessing(resize_px=None, crop_px=None))
    batches = list(iter_batches(photos, preprocessor, batch_size=8, workers=workers))
    assert {b.views[0].shape[1:] for b in batches if b.views} == {(30, 24, 3), (30, 25, 3)}
    check(batches, photos, preprocessor)


@given(bad=st.lists(st.booleans(), max_size=12), batch_size=st.integers(1, 5))
def test_any_pattern_of_bad_images_keeps_every_row(bad, batch_size):
    sources = [
        f"/no/such/{i}.png" if is_bad else np.full((4, 4, 3), i, np.uint8)
        for i, is_bad in enumerate(bad)
    ]
    check(iter_batches(sources, PREPROCESSOR, batch_size=batch_size), sources, PREPROCESSOR)


def test_images_in_memory_go_through_readers_too():
    arrays = [np.full((9, 9, 3), i, np.uint8) for i in range(5)]
    sources = [arrays[0], Image.fromarray(arrays[1]), *arrays[2:]]
    batches = list(iter_batches(sources, PREPROCESSOR, batch_size=2, workers=1))
    check(batches, sources, PREPROCESSOR)
    assert batches[0].read[1].digest == array_digest(arrays[1])


def test_the_digest_is_that_of_the_file(photos):
    image = read_image(photos[0], PREPROCESSOR)
    status = os.stat(photos[0])  # noqa: PTH116
    assert image.digest == file_digest(photos[0])
    assert (image.size_bytes, image.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert read_image(photos[3], PREPROCESSOR).digest == file_digest(photos[3])


def test_a_file_that_changes_while_it_is_read_is_bad(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    fstat, calls = os.fstat, []

    def touch_then_fstat(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            os.utime(path, ns=(1, 1))
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", touch_then_fstat)
    assert read_image(str(path), PREPROCESSOR).error == "the file changed while it was read"


def test_a_transform_from_a_script_reaches_the_readers(photos):
    scale = 255.0
    preprocessor = TransformPreprocessor(
        lambda image: np.asarray(image.resize((4, 4)), np.float32).transpose(2, 0, 1) / scale
    )
    batches = list(iter_batches(photos, preprocessor, batch_size=16, workers=2))
    assert batches[0].views[0].dtype == np.float32
    check(batches, photos, preprocessor)


def test_a_transform_that_no_reader_can_take_is_refused(photos):
    lock = threading.Lock()
    with pytest.raises(ParameterError, match=r"cannot be pickled.*workers=0"):
        next(
            iter_batches(
                photos, TransformPreprocessor(lambda image: lock), batch_size=4, workers=1
            )
        )
    wrong = TransformPreprocessor(np.asarray)
    with pytest.raises(ParameterError, match="expected floats of shape"):
        list(iter_batches(photos, wrong, batch_size=4, workers=2))


def alive(pids):
    return [p for p in pids if psutil.pid_exists(p)]


def children():
    return {c.pid for c in psutil.Process().children(recursive=True)}


@pytest.mark.parametrize("can_share", [True, False])
def test_images_that_kill_their_reader_are_error_rows(photos, monkeypatch, can_share):
    def deadly(image):
        pixels = np.asarray(image, np.float32)
        if pixels.shape[1] == 25:
            os.kill(os.getpid(), signal.SIGSEGV)
        return pixels[:8, :8].transpose(2, 0, 1)

    monkeypatch.setattr(pool, "CAN_SHARE", can_share)
    sources = [p for i, p in enumerate(photos[:10]) if i % 2 == 0 or i in (5, 9)]
    preprocessor = TransformPreprocessor(deadly)
    (batch,) = iter_batches(sources, preprocessor, batch_size=9, workers=1)
    reason = "the reader process died while decoding (signal 11)"
    assert batch.failures == ((3, reason), (6, reason))
    assert batch.good.tolist() == [0, 1, 2, 4, 5]
    assert batch.read[3].mtime_ns == os.stat(photos[5]).st_mtime_ns  # noqa: PTH116
    for view, path in zip(batch.views[0], [sources[i] for i in batch.good], strict=True):
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"), np.float32)[:8, :8].transpose(2, 0, 1)
        np.testing.assert_array_equal(view, expected)


def test_an_image_that_hangs_its_reader_is_an_error_row(photos):
    def slow(image):
        if image.width == 25:
            time.sleep(60)
        return np.zeros((3, 4, 4), np.float32)

    sources = [photos[0], photos[1], photos[2]]
    start = time.monotonic()
    (batch,) = iter_batches(
        sources, TransformPreprocessor(slow), batch_size=3, workers=1, timeout_s=1.0
    )
    assert batch.failures == ((1, "decoding took longer than 1 s"),)
    assert batch.good.tolist() == [0, 2]
    assert time.monotonic() - start < 30


def test_an_innocent_image_whose_reader_is_killed_once_is_read_again(photos, tmp_path):
    mark = str(tmp_path / "mark")

    def dies_once(image):
        import pathlib

        if not pathlib.Path(mark).exists():
            pathlib.Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros((3, 4, 4), np.float32)

    (batch,) = iter_batches(photos[:3], TransformPreprocessor(dies_once), batch_size=3, workers=1)
    assert Path(mark).exists()
    assert batch.failures == ()


def test_readers_that_cannot_start_are_an_error(photos, monkeypatch):
    monkeypatch.setattr(pool, "START", "raise SystemExit(3)")
    with pytest.raises(FeatxError, match=r"ended 3 times while starting.*status 3"):
        list(iter_batches(photos, PREPROCESSOR, batch_size=4, workers=1))


def test_closing_early_ends_the_readers(photos):
    before = children()
    batches = iter_batches(photos * 20, PREPROCESSOR, batch_size=4, workers=2)
    next(batches)
    assert len(children() - before) == 2
    batches.close()
    assert not children() - before


def test_reading_ahead_is_bounded(tmp_path):
    """Without a bound, a slow network would have the whole folder in memory."""
    log = tmp_path / "log"
    path = str(log)

    def count(image):
        with open(path, "a") as file:  # noqa: PTH123
            file.write("x")
        return np.zeros((3, 2, 2), np.float32)

    sources = [np.zeros((2, 2, 3), np.uint8)] * 400
    batches = iter_batches(
        sources, TransformPreprocessor(count), batch_size=4, workers=2, prefetch=2
    )
    next(batches)
    time.sleep(0.5)
    n_read = len(log.read_text())
    batches.close()
    assert 4 <= n_read <= 4 * 4


def test_readers_know_no_torch(photos):
    def count(image):
        import sys

        return np.full((1, 1, 1), float("torch" in sys.modules), np.float32)

    (batch,) = iter_batches(photos[:1], TransformPreprocessor(count), batch_size=1, workers=1)
    assert batch.views[0].item() == 0.0


def test_processes_that_torchrun_has_started_share_the_cores(photos, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    found = []
    for beside in ("1", "4", "64"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", beside)
        found.append(default_workers(photos * 2))
    assert found == [12, 3, 1]


def test_few_or_in_memory_images_are_read_in_this_process(photos):
    assert default_workers(photos) == 0
    assert default_workers(photos * 2) >= 1
    assert default_workers([np.zeros((2, 2, 3), np.uint8)] * 100) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"workers": -1}, "workers: got -1"),
        ({"prefetch": -1}, "prefetch: got -1"),
        ({"timeout_s": 0}, "timeout_s: got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(photos, options, message):
    with pytest.raises(ParameterError, match=message):
        iter_batches(photos, PREPROCESSOR, **{"batch_size": 1, **options})


# No `if __name__ == "__main__"`: a user's script needs none. SIGINT is heeded even where the tests
# run in the background, where the shell has it ignored.
SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import psutil
from featx.images import ImagePreprocessor
from featx.images.loader import iter_batches
from featx.recipe import Preprocessing
paths = [sys.argv[1]] * 5000
for i, batch in enumerate(iter_batches(paths, ImagePreprocessor(Preprocessing()), batch_size=8,
                                       workers=2)):
    if i == 1:
        print(*[c.pid for c in psutil.Process().children(recursive=True)], flush=True)
    time.sleep(0.05)
"""


def run_script(path):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2, process.stderr.read()
    return process, pids


@linux_only
def test_readers_die_with_a_killed_parent_and_leave_nothing(photos):
    before = set(Path("/dev/shm").iterdir())
    process, pids = run_script(photos[0])
    process.kill()
    deadline = time.monotonic() + 10
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pids)
    assert process.communicate(timeout=10)[1] == ""
    new = [p for p in set(Path("/dev/shm").iterdir()) - before if str(process.pid) in p.name]
    assert not new


@linux_only
def test_ctrl_c_prints_one_traceback_and_ends_the_readers(photos):
    process, pids = run_script(photos[0])
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the readers get it too
    _, stderr = process.communicate(timeout=20)
    assert stderr.count("Traceback") == 1
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert not alive(pids)


def test_real_photographs_are_read_alike_with_and_without_readers(shared_assets):
    paths = sorted(str(p) for p in (shared_assets / "datasets/imagenet_samples").glob("*.JPEG"))
    assert len(paths) > 20
    here = list(iter_batches(paths, PREPROCESSOR, batch_size=8, workers=0))
    there = list(iter_batches(paths, PREPROCESSOR, batch_size=8, workers=2))
    for a, b in zip(here, there, strict=True):
        assert a.read == b.read
        assert not a.failures
        np.testing.assert_array_equal(a.views[0], b.views[0])
