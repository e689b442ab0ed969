"""Features of timm's families at two sizes, against timm's own forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from featx.backbones import build_network, load_backbone

CPU = {"precision": "float32", "device": "cpu", "engine": "torch"}
# A small network of each of 30 families, and another size than its own.
FAMILIES = {
    "test_vit": 96, "test_vit_relpos": 96, "test_coatnet": 96, "test_convnext": 96,
    "test_efficientnet": 96, "test_resnet": 96, "test_nfnet": 96, "test_byobnet": 96,
    "test_mambaout": 96, "deit_tiny_patch16_224": 160, "vit_tiny_patch16_dinov3_qkvb": 192,
    "vit_small_patch14_reg4_dinov2": 224, "vit_pe_core_tiny_patch16_384": 224,
    "vit_tiny_r_s16_p8_224": 160, "vitamin_small_224": 160, "swin_tiny_patch4_window7_224": 160,
    "swinv2_tiny_window8_256": 192, "swinv2_cr_tiny_224": 160, "coat_tiny": 160,
    "xcit_nano_12_p8_224": 160, "efficientvit_m0": 160, "mobilevit_xxs": 192, "pvt_v2_b0": 160,
    "fastvit_t8": 192, "edgenext_xx_small": 192, "mobilenetv3_small_050": 160,
    "regnetx_002": 160, "starnet_s050": 160,
    "ese_vovnet19b_slim_dw": 160, "repvit_m1": 160,
}  # fmt: skip
QUICK = ("test_vit", "test_convnext", "test_mambaout")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, where timm itself resamples
@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES]
)
def test_features_are_what_timms_own_pass_gives_before_the_classifier(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is an extra")
    whole = build_network(f"timm/{name}", weights=None)
    native = whole.preprocessing.crop_px
    assert native is not None
    for px in (native, FAMILIES[name]):
        net = load_backbone(f"timm/{name}", weights=None, sizes=[px], **CPU)
        x = torch.randn(1, 3, px, px, generator=torch.Generator().manual_seed(0))
        (found,) = net.features([x.numpy()], [("penultimate", lambda v: v.flatten(1))])
        theirs = _build(timm, name, px, whole.module)
        with torch.inference_mode():
            tokens = theirs.eval().forward_features(x)
            expected = theirs.forward_head(tokens, pre_logits=True).flatten(1).numpy()
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale, err_msg=str(px))


def _build(timm: Any, name: str, px: int, module: torch.nn.Module) -> torch.nn.Module:
    """Build timm's network with the same weights for a size by an option of its own."""
    options = ({"dynamic_img_size": True}, {"img_size": px}, {})
    for option in options:
        overlay = {"state_dict": dict(module.state_dict()), "source": "", "label_offset": 0}
        try:
            built: torch.nn.Module = timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay=overlay, **option
            )
        except TypeError:
            continue
        return built
    raise AssertionError(name)
