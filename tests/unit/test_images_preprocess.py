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
from featx.images import ImagePreprocessor
from featx.images._views import patch_boxes
from featx.images.augmentation import AUGMENTS, Augmentation
from featx.images.preprocess import TransformPreprocessor
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


def test_multi_scale_rounds_to_patches_that_do_not_divide_32():
    made = Preprocessing(resize_px=256, crop_px=224)
    views = ImagePreprocessor(made, "multi-scale(14)")(noise(500, 400))
    assert [v.shape[0] for v in views] == [224, 154, 322]
    assert str(Augmentation.parse("multi-scale(32):keep")) == "multi-scale:keep"
    with pytest.raises(ParameterError, match=r"got 'multi-scale\(0\)'"):
        Augmentation.parse("multi-scale(0)")


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


@pytest.mark.parametrize(
    "augment",
    ["none", "hflip", "ten-crop", "multi-scale", "multi-scale(14)", "sixteen-view", "patches(3)"],
)
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


def test_sixteen_views_are_a_picture_its_close_ups_and_rotations_and_their_mirror_images():
    image = noise(90, 120)
    views = ImagePreprocessor(Preprocessing(40, 32), "sixteen-view")(image)
    assert [v.shape for v in views] == [(32, 32, 3)] * 16
    np.testing.assert_array_equal(views[0], ImagePreprocessor(Preprocessing(40, 32))(image)[0])
    for view, mirrored in zip(views[:8], views[8:], strict=True):
        np.testing.assert_array_equal(view[:, ::-1], mirrored)


def test_close_ups_of_the_sixteen_show_four_ninths_of_the_area_at_corners_and_centre():
    # A picture of nine flat tiles: each corner's close-up is made of its four tiles alone.
    tiles = np.arange(9, dtype=np.uint8).reshape(3, 3) * 25
    image = Image.fromarray(np.kron(tiles, np.ones((30, 30), np.uint8))).convert("RGB")
    views = ImagePreprocessor(Preprocessing(60, 60), "sixteen-view")(image)
    for view, rows, columns in (
        (views[1], (0, 1), (0, 1)),
        (views[2], (0, 1), (1, 2)),
        (views[3], (1, 2), (0, 1)),
        (views[4], (1, 2), (1, 2)),
    ):
        expected = np.kron(tiles[np.ix_(rows, columns)], np.ones((30, 30), np.uint8))
        np.testing.assert_array_equal(view[:, :, 0], expected)
    assert views[5][30, 30, 0] == tiles[1, 1]


def test_rotated_views_have_no_blank_corner():
    image = Image.new("RGB", (200, 70), (255, 255, 255))
    for view in ImagePreprocessor(Preprocessing(32, 32), "sixteen-view")(image):
        assert view.min() > 250


def test_patches_cover_the_picture_and_overlap_by_half():
    for levels, n in ((1, 1), (2, 5), (3, 14), (4, 30)):
        boxes = np.array(patch_boxes(120, 60, levels))
        assert (
            len(boxes)
            == n
            == ImagePreprocessor(Preprocessing(32, 32), f"patches({levels})").n_views
        )
        last = boxes[-(levels**2) :]
        assert last[:, :2].min() == 0
        assert last[:, 2].max() == pytest.approx(120)
        assert last[:, 3].max() == pytest.approx(60)
        assert last[:, 2] - last[:, 0] == pytest.approx(2 * 120 / (levels + 1))
    left, right = patch_boxes(120, 60, 2)[1:3]
    assert (right[0] - left[0]) == pytest.approx((left[2] - left[0]) / 2)


def test_a_patch_is_the_box_stretched_to_the_crop():
    image = noise(60, 90)
    views = ImagePreprocessor(Preprocessing(40, 32, decode="full"), "patches(2):keep")(image)
    box = (0.0, 0.0, image.width * 2 / 3, image.height * 2 / 3)
    cut = image.crop(tuple(map(round, box))).resize((32, 32), Image.Resampling.BILINEAR)
    # At its inner edges a patch is smoothed with the pixels beyond, which a cut lacks.
    inside = (slice(0, -1), slice(0, -1))
    np.testing.assert_allclose(
        views[1][inside].astype(int), pixels(cut)[inside].astype(int), atol=1
    )


@pytest.mark.parametrize(
    ("augment", "px"), [("none", 40), ("sixteen-view", 48), ("patches(4)", 80)]
)
def test_a_jpeg_is_decoded_as_large_as_the_closest_view_needs(augment, px):
    assert ImagePreprocessor(Preprocessing(40, 32), augment).min_px == px


@pytest.mark.parametrize("suffix", ["", ":keep"])
@pytest.mark.parametrize("name", AUGMENTS)
def test_a_name_of_an_augmentation_is_read_and_written_alike(name: str, suffix: str) -> None:
    found = Augmentation.parse(name + suffix)
    assert str(found) == name + suffix
    assert found.keeps_views == bool(suffix)
    views = ImagePreprocessor(Preprocessing(resize_px=32, crop_px=32), name + suffix)(
        Image.new("RGB", (48, 40))
    )
    assert len(views) == found.n_views
