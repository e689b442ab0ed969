"""Views, against torchvision on the same PIL images."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from featx.errors import ImageDecodeError, ParameterError
from featx.images import ImagePreprocessor, TransformPreprocessor
from featx.recipe import Preprocessing


def noise(width, height, seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixels(image):
    return np.asarray(image)


SIDE = st.integers(1, 90)


@settings(max_examples=150)
@given(
    width=SIDE,
    height=SIDE,
    resize_px=st.one_of(st.none(), st.integers(1, 70)),
    crop_px=st.one_of(st.none(), st.integers(1, 70)),
    interpolation=st.sampled_from(["bilinear", "bicubic", "lanczos", "nearest", "box", "hamming"]),
)
def test_one_view_is_torchvisions_resize_and_centre_crop_bit_for_bit(
    width, height, resize_px, crop_px, interpolation
):
    steps = []
    if resize_px is not None:
        steps.append(transforms.Resize(resize_px, InterpolationMode(interpolation)))
    if crop_px is not None:
        steps.append(transforms.CenterCrop(crop_px))
    image = noise(width, height)
    (view,) = ImagePreprocessor(Preprocessing(resize_px, crop_px, interpolation))(image)
    np.testing.assert_array_equal(view, pixels(transforms.Compose(steps)(image)))
    assert view.dtype == np.uint8
    assert view.flags.c_contiguous


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (333, 1000), (224, 224), (257, 100)])
def test_the_usual_sizes_are_torchvisions(size):
    reference = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    (view,) = ImagePreprocessor(Preprocessing())(noise(*size))
    np.testing.assert_array_equal(view, pixels(reference(noise(*size))))


@given(width=SIDE, height=SIDE, crop_px=st.integers(1, 40), extra=st.integers(0, 9))
def test_ten_crop_is_torchvisions(width, height, crop_px, extra):
    image = noise(width, height)
    reference = transforms.Compose(
        [transforms.Resize(crop_px + extra), transforms.TenCrop(crop_px)]
    )(image)
    views = ImagePreprocessor(Preprocessing(crop_px + extra, crop_px), "ten-crop")(image)
    assert len(views) == 10
    for view, expected in zip(views, reference, strict=True):
        np.testing.assert_array_equal(view, pixels(expected))


def test_ten_crop_pads_an_image_smaller_than_the_crop():
    views = ImagePreprocessor(Preprocessing(None, 32), "ten-crop:keep")(noise(20, 10))
    reference = transforms.CenterCrop(32)(noise(20, 10))
    np.testing.assert_array_equal(views[4], pixels(reference))


def test_hflip_is_the_view_and_its_mirror_image():
    plain, mirrored = ImagePreprocessor(Preprocessing(), "hflip")(noise(300, 280))
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


def test_multi_scale_gives_multiples_of_32_of_the_same_part():
    preprocessor = ImagePreprocessor(Preprocessing(), "multi-scale:keep")
    views = preprocessor(noise(500, 400))
    assert [v.shape for v in views] == [(224, 224, 3), (160, 160, 3), (320, 320, 3)]
    for view, resize_px in zip(views, (256, 183, 366), strict=True):
        reference = transforms.Compose(
            [transforms.Resize(resize_px), transforms.CenterCrop(view.shape[0])]
        )
        np.testing.assert_array_equal(view, pixels(reference(noise(500, 400))))
    assert preprocessor.min_px == 366


def test_multi_scale_without_crop_scales_the_whole_image():
    views = ImagePreprocessor(Preprocessing(None, None), "multi-scale")(noise(100, 50))
    assert [v.shape[:2] for v in views] == [(50, 100), (35, 70), (71, 142)]


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        (Preprocessing(), 256),
        (Preprocessing(decode="full"), None),
        (Preprocessing(resize_px=None), None),
    ],
)
def test_min_px_follows_from_the_resize(preprocessing, expected):
    assert ImagePreprocessor(preprocessing).min_px == expected


@pytest.mark.parametrize("augment", ["none", "hflip", "ten-crop", "multi-scale"])
def test_n_views_is_the_number_of_views_with_and_without_keep(augment):
    for name in (augment, f"{augment}:keep"):
        preprocessor = pickle.loads(pickle.dumps(ImagePreprocessor(Preprocessing(), name)))
        assert len(preprocessor(noise(60, 40))) == preprocessor.n_views


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ParameterError, match=r"got 'tencrop:keep'.*Did you mean 'ten-crop'"):
        ImagePreprocessor(Preprocessing(), "tencrop:keep")
    with pytest.raises(ParameterError, match=r"got 'bilinea'.*Did you mean 'bilinear'"):
        ImagePreprocessor(Preprocessing(interpolation="bilinea"))
    with pytest.raises(ParameterError, match="'ten-crop' with crop_px None"):
        ImagePreprocessor(Preprocessing(crop_px=None), "ten-crop")


def test_an_elongated_image_is_refused_before_it_fills_memory():
    with pytest.raises(ImageDecodeError, match="1 x 10000 px would become 256 x 2560000 px"):
        ImagePreprocessor(Preprocessing())(Image.new("RGB", (1, 10_000)))


def test_a_transform_gives_what_it_returns_as_float32():
    to_tensor = transforms.Compose([transforms.CenterCrop(8), transforms.ToTensor()])
    (view,) = TransformPreprocessor(to_tensor)(noise(20, 20))
    assert view.dtype == np.float32
    np.testing.assert_array_equal(view, to_tensor(noise(20, 20)).numpy())


def test_a_transform_that_returns_no_network_input_is_refused():
    with pytest.raises(ParameterError, match=r"uint8 and shape \(20, 20, 3\), expected floats"):
        TransformPreprocessor(np.asarray)(noise(20, 20))
    with pytest.raises(ParameterError, match="returned NoneType"):
        TransformPreprocessor(lambda image: None)(noise(20, 20))


def test_a_transform_that_raises_is_a_reason():
    with pytest.raises(ImageDecodeError, match="the transform raised ZeroDivisionError"):
        TransformPreprocessor(lambda image: 1 / 0)(noise(20, 20))
