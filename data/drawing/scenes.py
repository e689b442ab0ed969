"""Six kinds of scenes; hour, weather and season vary, so that no palette belongs to one kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from drawing.camera import WORK_PX, photograph
from drawing.canvas import Layer, blur, lay_over, spline
from drawing.grounds import sky
from drawing.noise import any_colour, fractal, mix, ridge_line
from drawing.objects import page, placed
from drawing.room import room

__all__ = ["SCENES", "draw_scene", "scene_pixels"]

Rng = np.random.Generator
N = WORK_PX
MOODS = ["day", "day", "dusk", "grey"]
HOUR = {"day": (1.0, 1.0, 1.0), "dusk": (0.95, 0.72, 0.62), "grey": (0.8, 0.82, 0.85)}


def _rows() -> np.ndarray:
    return np.arange(N, dtype=np.float32)[:, None]


def _below(line: np.ndarray) -> np.ndarray:
    """Return how far a pixel lies under a profile: 0 above, 1 below, soft over 1.5 px."""
    return np.clip((_rows() - line[None]) / 1.5, 0, 1)


def beach(rng: Rng) -> np.ndarray:
    """Paint sea, surf and sand, with palms, rocks or a parasol."""
    mood = str(rng.choice(MOODS))
    horizon = int(N * rng.uniform(0.25, 0.45))
    picture = np.zeros((N, N, 3), np.float32)
    picture[:] = sky(rng, (N, N), mood)
    water = np.array([0.1, 0.35, 0.5]) + rng.normal(0, 0.05, 3)
    waves = fractal(rng, (N, N), cells=(36, 5), octaves=3)
    sea = np.clip(
        mix(water * 1.3, water * 0.7, waves) + np.clip(waves - 0.62, 0, 1)[..., None] * 2.5, 0, 1
    )
    picture = mix(picture, sea * HOUR[mood], _below(np.full(N, horizon)))
    slope = rng.uniform(-0.35, 0.35)
    shore = (
        N * rng.uniform(0.55, 0.7)
        + slope * (np.arange(N) - N / 2)
        + 16 * (ridge_line(rng, N, cells=4, octaves=3) - 0.5)
    )
    sand = np.array([0.85, 0.74, 0.55]) + rng.normal(0, 0.04, 3)
    grains = fractal(rng, (N, N), cells=(50, 40), octaves=3)
    ground = sand * (0.75 + 0.5 * grains[..., None])
    wet = np.clip((_rows() - shore[None]) / 40, 0, 1)
    picture = mix(picture, ground * (0.6 + 0.4 * wet[..., None]) * HOUR[mood], _below(shore))
    for k in range(rng.integers(1, 4)):
        line = shore - k * rng.uniform(12, 22) + 5 * (ridge_line(rng, N, cells=9, octaves=3) - 0.5)
        foam = np.exp(-(((_rows() - line[None]) / rng.uniform(2, 5)) ** 2)) * (
            fractal(rng, (N, N), cells=(40, 30)) + 0.3
        )
        picture = mix(
            picture,
            np.array([0.95, 0.96, 0.97]) * HOUR[mood],
            np.clip(foam * (_rows() > horizon), 0, 1),
        )
    if rng.random() < 0.5:
        kind = "umbrella" if rng.random() < 0.6 else "sailboat"
        picture = placed(
            rng,
            picture,
            kind,
            N * rng.uniform(0.2, 0.8),
            N * 0.75 if kind == "umbrella" else horizon + 12,
        )
    if rng.random() < 0.6:
        picture = lay_over(picture, _palm(rng), shadow=(20, 5), depth=0.3)
    return picture


def _palm(rng: Rng) -> Layer:
    layer = page(rng)
    x, lean, top = rng.uniform(0.1, 0.9) * N, rng.uniform(-50, 50), N * rng.uniform(0.12, 0.3)
    trunk = spline([(x, N * 0.92), (x + lean * 0.3, N * 0.6), (x + lean, top)], closed=False)
    bark = np.array([0.42, 0.31, 0.2])
    layer.stroke(trunk, 9, lambda u, v: bark * (0.8 + 0.25 * np.sin(v * 0.8))[..., None])
    leaf = np.array([0.15, 0.38, 0.12]) * rng.uniform(0.7, 1.3)
    for angle in np.linspace(0, 2 * np.pi, 9, endpoint=False) + rng.uniform(0, 1):
        dx, dy = np.cos(angle) * 62, np.sin(angle) * 30
        rib = spline(
            [
                (x + lean, top),
                (x + lean + dx * 0.55, top + dy - 14),
                (x + lean + dx, top + dy + 22),
            ],
            closed=False,
        )
        for p in rib[2::3]:
            layer.stroke([tuple(p), (p[0] + dx * 0.05, p[1] + 17)], 3, leaf * 0.8, puff=1)
        layer.stroke(rib, 5, leaf, puff=2)
    return layer


def forest(rng: Rng) -> np.ndarray:
    """Paint trunks in the haze, foliage above, leaves and moss below."""
    season = [
        (0.2, 0.38, 0.12),
        (0.55, 0.38, 0.1),
        (0.5, 0.22, 0.1),
        (0.3, 0.4, 0.28),
        (0.75, 0.78, 0.8),
    ]
    leaf = np.array(season[rng.integers(len(season))]) + rng.normal(0, 0.03, 3)
    haze = mix(np.array([0.75, 0.8, 0.75]), leaf, rng.uniform(0.1, 0.5)) * rng.uniform(0.5, 1.1)
    glow = fractal(rng, (N, N), cells=(2, 3), octaves=2)[..., None]
    picture = np.broadcast_to(haze, (N, N, 3)) * (0.8 + 0.4 * glow)
    ground_at = N * rng.uniform(0.58, 0.75)
    bark = np.array([0.3, 0.24, 0.18]) * rng.uniform(0.5, 1.9)
    for depth in np.linspace(0.15, 1.0, 5):
        layer = page(rng)
        foot = ground_at + depth * (N - ground_at) * 0.6
        for _ in range(int(rng.integers(3, 7) * (1.5 - depth)) + 1):
            x, w = rng.uniform(0, N), (4 + 24 * depth**1.5) * rng.uniform(0.6, 1.2)
            tone = mix(haze, bark, depth)
            phase = rng.uniform(0, 9)
            layer.polygon(
                [
                    (x - w * 0.7, foot),
                    (x - w * 0.4, -5),
                    (x + rng.uniform(-8, 8) + w * 0.35, -5),
                    (x + w * 0.7, foot),
                ],
                lambda u, v, c=tone, p=phase: (
                    c * (0.8 + 0.3 * np.sin(u * 1.3 + 2 * np.sin(v * 0.11 + p)))[..., None]
                ),
                puff=w * 0.4,
            )
            if rng.random() < 0.6:
                y, side = rng.uniform(0.15, 0.5) * N, rng.choice([-1, 1])
                layer.stroke([(x, y), (x + side * w * 2, y - w * 1.4)], w * 0.25, tone)
        clumps = fractal(rng, (N, N), cells=(7, 7), octaves=5)
        reach = rng.uniform(0.05, 0.5) * N * (0.6 + 0.5 * depth)
        cover = np.clip((clumps - 0.5 - (_rows() - reach) / N * 1.2) * 14, 0, 1)
        grain = fractal(rng, (N, N), cells=(45, 45), octaves=2)[..., None]
        picture = lay_over(picture, layer, shadow=(3, 2), depth=0.2)
        picture = mix(picture, mix(haze, leaf, depth) * (0.35 + 1.2 * grain), cover * 0.92)
        floor = foot - 10 + 10 * ridge_line(rng, N, cells=6)
        earth = mix(
            haze, mix(leaf, np.array([0.3, 0.22, 0.12]), rng.uniform(0.1, 0.8)), 0.3 + 0.7 * depth
        )
        picture = mix(picture, earth * (0.35 + 1.25 * grain), _below(floor))
    if rng.random() < 0.4:
        path = (
            np.abs(np.arange(N)[None] - N / 2 - 25 * np.sin(_rows() / 50))
            < (_rows() - ground_at) * 0.35
        )
        picture = mix(
            picture,
            np.array([0.5, 0.42, 0.32]) * (0.6 + 0.7 * grain),
            blur(path * (_rows() > ground_at), 3) * 0.8,
        )
    return picture


def city_night(rng: Rng) -> np.ndarray:
    """Paint buildings with lit windows over a street or water that mirrors them."""
    picture = sky(rng, (N, N), "night") * rng.uniform(0.6, 1.8)
    if rng.random() < 0.35:
        picture = mix(picture, sky(rng, (N, N), "dusk") * 0.6, 0.6)
    street = int(N * rng.uniform(0.68, 0.85))
    for depth in (0.3, 0.6, 1.0):
        x = -rng.uniform(0, 40)
        while x < N:
            w, h = rng.uniform(24, 60), rng.uniform(0.2, 0.75) * street * (1.25 - 0.5 * depth)
            _building(rng, picture, (int(x), int(street - h), int(x + w), street), depth)
            x += w + rng.uniform(-4, 12 * depth)
    flipped = picture[2 * street - N : street][::-1][: N - street]
    soft = (
        np.asarray(
            Image.fromarray((np.clip(flipped, 0, 1) * 255).astype(np.uint8))
            .resize((N, 8))
            .resize((N, N - street)),
            np.float32,
        )
        / 255
    )
    picture[street:] = (
        soft * rng.uniform(0.4, 0.8)
        + fractal(rng, (N - street, N), cells=(20, 6))[..., None] * 0.09
    )
    lamps = page(rng)
    for _ in range(rng.integers(4, 16)):
        x, y = rng.uniform(0, N), street + rng.uniform(-20, (N - street) * 0.6)
        colour = [(1, 0.8, 0.45), (1, 0.3, 0.2), (0.95, 0.95, 1), (0.4, 0.9, 0.6)][rng.integers(4)]
        lamps.ellipse(x, y, r := rng.uniform(2, 6), r, np.array(colour), puff=0)
    glow = np.stack([blur(lamps.rgb[..., k] * lamps.alpha, 7) for k in range(3)], axis=-1)
    return np.clip(lay_over(picture, lamps) + glow * 0.9, 0, 1)


def _building(rng: Rng, picture: np.ndarray, box: tuple[int, int, int, int], depth: float) -> None:
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 2), min(box[2], N), box[3]
    if x1 - x0 < 6:
        return
    wall = any_colour(rng, value=(0.06, 0.22), dull=0.5) * (0.7 + 0.5 * depth)
    picture[y0:y1, x0:x1] = wall * np.linspace(0.8, 1.3, x1 - x0)[None, :, None]
    step_y, step_x = rng.integers(8, 14), rng.integers(6, 12)
    lit_share, tint = rng.uniform(0.2, 0.7), np.array([1.0, 0.85, 0.55]) + rng.normal(0, 0.12, 3)
    for y in range(y0 + 5, y1 - 6, step_y):
        for x in range(x0 + 3, x1 - 4, step_x):
            if rng.random() < lit_share:
                picture[y : y + step_y - 5, x : x + step_x - 3] = np.clip(
                    tint * rng.uniform(0.4, 1.0), 0, 1
                )
    if rng.random() < 0.3:
        picture[max(y0 - 18, 0) : y0, (x0 + x1) // 2] = wall * 1.5


def mountain(rng: Rng) -> np.ndarray:
    """Paint ridges with snow, rock and forest, over a meadow or a lake."""
    mood = str(rng.choice(MOODS))
    picture = sky(rng, (N, N), mood)
    snow_line, rock = rng.uniform(0.1, 0.75), any_colour(rng, value=(0.3, 0.5), dull=0.7)
    haze = picture[N // 2].mean(0)
    for depth in np.linspace(0.35, 1.0, rng.integers(2, 4)):
        base, high = N * (0.45 + 0.28 * depth), N * rng.uniform(0.35, 0.6)
        peaks = _peaks(rng, int(rng.integers(2, 5)))
        line = base - high * np.clip(0.8 * peaks + 0.25 * ridge_line(rng, N, cells=8), 0, 1.1)
        relief = 1 - np.abs(2 * fractal(rng, (N, N), cells=(5, 7), octaves=5) - 1)
        dx = np.gradient(relief, axis=1) * 30 - np.gradient(line)[None] * 0.35
        lit = np.clip(0.65 + dx * rng.choice([-1, 1]), 0.25, 1.25)[..., None]
        height = (base - _rows()) / high + (relief - 0.7) * 0.5
        white = np.clip((height - 1 + snow_line) * 9, 0, 1)
        wood = np.clip((0.25 - height) * 7, 0, 1)
        face = mix(
            mix(rock, np.array([0.93, 0.95, 0.98]), white), np.array([0.16, 0.26, 0.14]), wood
        )
        picture = mix(
            picture, mix(haze, face * lit * HOUR[mood], 0.25 + 0.75 * depth), _below(line)
        )
    ground_at = int(N * rng.uniform(0.72, 0.85))
    grain = fractal(rng, (N, N), cells=(60, 40), octaves=2)[..., None]
    if rng.random() < 0.45:
        mirror = picture[2 * ground_at - N : ground_at][::-1]
        picture[ground_at:] = mirror * 0.75 + grain[ground_at:] * 0.1
    else:
        meadow = np.array([0.32, 0.42, 0.16]) + rng.normal(0, 0.06, 3)
        line = ground_at + 14 * (ridge_line(rng, N, cells=3, octaves=3) - 0.5)
        picture = mix(picture, meadow * (0.5 + grain) * HOUR[mood], _below(line))
    if rng.random() < 0.6:
        layer = page(rng)
        for _ in range(rng.integers(3, 10)):
            x, y, h = rng.uniform(0, N), ground_at + rng.uniform(0, 30), rng.uniform(25, 60)
            for k in range(4):
                w = h * 0.28 * (1 - k * 0.2)
                layer.polygon(
                    [
                        (x - w, y - h * 0.22 * k),
                        (x, y - h * (0.45 + 0.2 * k)),
                        (x + w, y - h * 0.22 * k),
                    ],
                    np.array([0.1, 0.2, 0.12]) * rng.uniform(0.7, 1.3),
                    puff=3,
                )
        picture = lay_over(picture, layer)
    return picture


def _peaks(rng: Rng, n: int) -> np.ndarray:
    """Return a profile of n peaks and the saddles between them."""
    steps = np.linspace(-0.1, 1.1, 2 * n + 1) + rng.normal(0, 0.03, 2 * n + 1)
    heights = np.where(
        np.arange(2 * n + 1) % 2, rng.uniform(0.6, 1, 2 * n + 1), rng.uniform(0.15, 0.5, 2 * n + 1)
    )
    return np.interp(np.arange(N) / N, steps, heights)


def desert(rng: Rng) -> np.ndarray:
    """Paint dunes with ripples and a shaded side, stones, cacti."""
    mood = str(rng.choice(MOODS))
    picture = sky(rng, (N, N), mood)
    sand = np.array([0.82, 0.6, 0.38]) + rng.normal(0, 0.07, 3)
    haze, side = picture[N // 2].mean(0), rng.choice([-1, 1])
    for depth in np.linspace(0.2, 1.0, rng.integers(3, 6)):
        base = N * (0.36 + 0.5 * depth)
        line = base - N * 0.16 * (ridge_line(rng, N, cells=rng.uniform(2, 3.5), octaves=1) - 0.3)
        crest = np.gradient(line)[None] * 2.2 * side
        under = (_rows() - line[None]) / N
        face = np.clip(0.95 + crest * np.exp(-under * 9), 0.45, 1.2)
        bend = fractal(rng, (N, N), cells=(3, 3), octaves=2)
        ripples = 0.06 * depth * np.sin(_rows() * (1.4 - 0.8 * depth) + bend * 26)
        grain = fractal(rng, (N, N), cells=(70, 70), octaves=2) * 0.14
        dune = sand * (face + ripples + grain)[..., None] * HOUR[mood]
        picture = mix(picture, mix(haze, dune, 0.3 + 0.7 * depth), _below(line))
    layer = page(rng)
    for _ in range(rng.integers(0, 5)):
        x, y = rng.uniform(0, N), N * rng.uniform(0.6, 0.95)
        if rng.random() < 0.5:
            layer.ellipse(
                x,
                y,
                rng.uniform(5, 18),
                rng.uniform(4, 9),
                any_colour(rng, value=(0.3, 0.5), dull=0.7),
                puff=6,
            )
        else:
            _cactus(layer, rng, x, y)
    return lay_over(picture, layer, shadow=(18 * side, 5), depth=0.4)


def _cactus(d: Layer, rng: Rng, x: float, y: float) -> None:
    h, c = rng.uniform(35, 75), np.array([0.25, 0.4, 0.22]) * rng.uniform(0.7, 1.3)

    def ribbed(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return c * (0.85 + 0.2 * np.sin(u * 1.6))[..., None]

    d.stroke([(x, y), (x, y - h)], h * 0.2, ribbed)
    for s in (-1, 1):
        at = y - h * rng.uniform(0.3, 0.6)
        d.stroke(
            spline(
                [(x, at), (x + s * h * 0.27, at), (x + s * h * 0.28, at - h * 0.32)], closed=False
            ),
            h * 0.13,
            ribbed,
        )


SCENES: dict[str, Callable[[Rng], np.ndarray]] = {
    f.__name__: f for f in (beach, city_night, desert, forest, mountain, room)
}


def scene_pixels(kind: str, rng: Rng) -> np.ndarray:
    """Paint a scene, mirrored half of the time, (WORK_PX, WORK_PX, 3) in [0, 1]."""
    picture = SCENES[kind](rng)
    return np.clip(picture[:, ::-1] if rng.random() < 0.5 else picture, 0, 1)


def draw_scene(kind: str, rng: Rng) -> Image.Image:
    """Photograph a scene; some in black and white."""
    picture = scene_pixels(kind, rng)
    if rng.random() < 0.12:
        picture = np.repeat(picture.mean(-1, keepdims=True), 3, axis=-1)
    return photograph(picture, rng)
