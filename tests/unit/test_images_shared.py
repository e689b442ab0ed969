"""Memory shared with readers: what was put there comes out, on the other side too."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featx.images import _shared
from featx.images.loader import iter_batches
from featx.images.preprocess import TransformPreprocessor

pytestmark = pytest.mark.skipif(os.name != "posix", reason="readers inherit no descriptors there")
arrays = hnp.arrays(
    st.sampled_from([np.dtype("u1"), np.dtype("f4"), np.dtype("f8")]),
    hnp.array_shapes(max_dims=4, max_side=9),
    elements=st.integers(0, 255),
)


@pytest.fixture(params=[True, False], ids=["memfd", "unlinked file"])
def descriptor(request, monkeypatch):
    if not request.param:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    found = _shared.SharedMemory.create()
    yield found
    os.close(found)


def test_both_sides_see_the_same(descriptor):
    ours, theirs = _shared.SharedMemory(descriptor), _shared.SharedMemory(descriptor)

    @settings(max_examples=30)
    @given(st.lists(st.lists(arrays, max_size=3), max_size=4), st.integers(0, 2**32))
    def same(results, position):
        theirs.clear()
        theirs.position = position
        placed = [theirs.put(views) for views in results]
        for views, at in zip(results, placed, strict=True):
            taken = ours.take(at)
            assert [x.dtype for x in taken] == [x.dtype for x in views]
            for found, view in zip(taken, views, strict=True):
                np.testing.assert_array_equal(found, view)
        assert ours.position == position

    same()
    kept = ours.take(theirs.put([np.arange(9)]))[0]
    theirs.clear()
    theirs.put([np.zeros(9, int)])
    np.testing.assert_array_equal(kept, np.arange(9))  # a copy
    ours.close()
    theirs.close()


def test_what_does_not_fit_goes_another_way(descriptor):
    block = _shared.SharedMemory(descriptor)
    half = np.zeros(_shared.N_BYTES // 2, np.uint8)
    assert block.put([half]) is not None
    assert block.put([half]) is None
    assert block.put([np.zeros(9, np.uint8)]) is not None
    block.clear()
    assert block.put([half]) is not None
    block.close()

    def large(image):
        return np.full((3, 1000, 1500), float(np.asarray(image)[0, 0, 0]), np.float32)

    sources = [np.full((2, 2, 3), value, np.uint8) for value in (1, 2, 3)]
    (batch,) = iter_batches(sources, TransformPreprocessor(large), batch_size=3, workers=1)
    assert batch.views[0][:, 2, 999, 1499].tolist() == [1, 2, 3]  # the second and third by pipe
