"""Two small towers of open_clip's configuration, trained on drawn shapes and saved as a folder."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

COLOURS = {
    "red": (210, 40, 40), "green": (40, 160, 60), "blue": (50, 80, 210), "yellow": (230, 210, 50),
    "white": (245, 245, 245), "black": (20, 20, 20),
}  # fmt: skip
SHAPES = {"square": 4, "triangle": 3, "circle": 48, "star": -5}
CAPTIONS = [f"a {colour} {shape}" for colour, shape in itertools.product(COLOURS, SHAPES)]
SIDE_PX = 32
N_STEPS, N_DRAWN = 500, 80


def draw(caption: str, rng: np.random.Generator, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """Draw a caption's shape, somewhere and a little turned, on a grey ground."""
    _, colour, shape = caption.split()
    image = Image.new("RGB", size, tuple(rng.integers(110, 150, 3).tolist()))
    n, radius = SHAPES[shape], min(size) * rng.uniform(0.28, 0.4)
    centre = np.array(size) / 2 + rng.uniform(-0.1, 0.1, 2) * size
    angles = rng.uniform(-0.2, 0.2) + np.linspace(0, 2 * np.pi, 2 * abs(n), endpoint=False)
    radii = np.where(np.arange(2 * abs(n)) % 2, 0.4 if n < 0 else np.cos(np.pi / n), 1) * radius
    points = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ImageDraw.Draw(image).polygon([tuple(p) for p in points.tolist()], COLOURS[colour])
    return image


def configure(resize_mode: str = "shortest") -> dict:
    return {
        "model_cfg": {
            "embed_dim": 48,
            "vision_cfg": {"image_size": SIDE_PX, "layers": 2, "width": 64, "patch_size": 8,
                           "head_width": 32},
            "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 48, "heads": 2,
                         "layers": 2},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.3, 0.3, 0.3],
                           "interpolation": "bicubic", "resize_mode": resize_mode},
    }  # fmt: skip


def train(folder: Path, *, seed: int = 0, resize_mode: str = "shortest", n_steps: int = N_STEPS):
    """Train both towers contrastively, save them as open_clip does, and return the folder."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(configure(resize_mode)))
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(CAPTIONS)
    pool = torch.stack([preprocess(draw(c, rng)) for c in CAPTIONS for _ in range(N_DRAWN)])
    pool = pool.unflatten(0, (len(CAPTIONS), N_DRAWN))
    model.token_embedding.requires_grad_(False)  # 49,408 random rows, of which a dozen are used
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(n_steps, 1))
    target = torch.arange(len(CAPTIONS))
    for _ in range(n_steps):
        images = pool[target, torch.from_numpy(rng.integers(0, N_DRAWN, len(target)))]
        image, text, scale = model(images, tokens)[:3]
        logits = scale * image @ text.T
        loss = torch.nn.functional.cross_entropy(logits, target)
        loss = loss + torch.nn.functional.cross_entropy(logits.T, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    state = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder
