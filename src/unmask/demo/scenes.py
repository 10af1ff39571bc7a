"""Scenes: a room, a camera, light and a head's motion; any person can be filmed in a scene."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.demo.paint import SIZE, SPAN, TEXTURE, XX, YY, Image, Random, clouds, flat, floats, lay, mix, shade, soft
from unmask.demo.people import Person, Pose

_SENSOR = 1024  # side of the image from which camera noise is cropped, px
_GRAIN = floats(cv2.GaussianBlur(floats(np.random.default_rng(0).normal(0, 1, (_SENSOR, _SENSOR, 3))), (3, 3), 0.6))
_GRAIN = _GRAIN / _GRAIN.std()


class Scene:
    """A scene of `frames` poses; its seed determines room, light and motion, but not the person."""

    def __init__(self, seed: int | Sequence[int], frames: int, fps: float) -> None:
        r = np.random.default_rng(seed)
        self.room = _room(r)
        self.grain = r.uniform(1.0, 4.5)
        corner = ((XX - SIZE / 2) ** 2 + (YY - SIZE / 2) ** 2) / (0.7 * SIZE) ** 2
        self.vignette = flat([1, 1, 1], corner) - np.float32(r.uniform(0, 0.35)) * corner[..., None]
        self.poses = _motion(r, frames, fps)

    def shoot(self, who: Person, pose: Pose, texture: Image, rng: Random) -> NDArray[np.uint8]:
        """Render an RGB frame `[SIZE, SIZE, 3]` of a person with the bare face `texture`; `rng` generates the noise."""
        across = 0.88 + 0.16 * pose.light[0] * np.clip((XX[0] - np.float32(pose.x)) / 90, -1, 1)
        light = np.tile(np.repeat(across, 3), (SIZE, 1)).reshape(SIZE, SIZE, 3)
        head = _turn(pose, pose.roll, -10 * pose.yaw)
        image = lay(self.room, _warp(who.behind, head), light)
        image = lay(image, _warp(who.body, _turn(pose, 0.0, 0.0), cv2.BORDER_REPLICATE), light)
        if who.locks is not None:
            image = lay(image, _warp(who.locks, head), light)
        _put_face(image, who, pose, lay(texture, who.front))
        exposed = cv2.multiply(cv2.multiply(image, self.vignette), np.append(pose.gain * who.looks.exposure, 0.0))
        y, x = rng.integers(0, _SENSOR - SIZE, 2)
        seen = cv2.scaleAdd(_GRAIN[y : y + SIZE, x : x + SIZE], self.grain, exposed)
        return np.clip(seen, 0, 255).astype(np.uint8)


def _room(r: Random) -> Image:
    """Draw a wall of two colours and objects in front of it, all out of focus."""
    wall = r.uniform(60, 195) + r.normal(0, 9, 3)
    room = floats(flat(wall, XX) + r.normal(0, 22) * ((YY - SIZE / 2) / SIZE)[..., None])
    room += np.float32(r.uniform(6, 26)) * clouds(r, int(r.integers(3, 8)), SIZE)
    room += np.float32(r.uniform(1, 5)) * clouds(r, int(r.integers(3, 8)), SIZE, 3)
    for _ in range(r.integers(0, 6)):  # shelves, frames, windows
        x, y = r.uniform(0, SIZE, 2)
        w, h = r.uniform(12, 70, 2)
        inside = np.minimum(w - np.abs(XX - x), h - np.abs(YY - y))
        mix(room, r.uniform(30, 225) + r.normal(0, 18, 3), soft(inside, 2.0) * np.float32(r.uniform(0.4, 1)))
        shade(room, 0.25, soft(2 - np.abs(inside), 2.0))
    for _ in range(r.integers(0, 5)):  # lamps
        x, y, size = *r.uniform(0, SIZE, 2), r.uniform(4, 14)
        mix(room, (255, 236, 200), soft(size - np.hypot(XX - x, YY - y), 3.0) * np.float32(r.uniform(0.2, 0.7)))
    return floats(cv2.GaussianBlur(room, (0, 0), r.uniform(0.8, 5)))


def _motion(r: Random, frames: int, fps: float) -> list[Pose]:
    """Return poses of a head that sways, nods, blinks and talks, with drifting light and exposure."""
    t = np.arange(frames) / fps

    def wave(size: float, low: float = 0.15, high: float = 0.7) -> NDArray[np.float64]:
        slow, fast = r.uniform(low, high), r.uniform(high, 2 * high)
        a, b = r.uniform(0, 2 * np.pi, 2)
        return size * np.asarray(np.sin(2 * np.pi * slow * t + a) + 0.4 * np.sin(2 * np.pi * fast * t + b))

    lively = r.uniform(0.3, 1.2)
    x, y = 128 + r.uniform(-14, 14) + wave(6 * lively), 121 + r.uniform(-8, 8) + wave(3 * lively)
    scale = r.uniform(0.86, 1.06) * (1 + wave(0.02 * lively))
    roll, yaw = r.uniform(-0.06, 0.06) + wave(0.05 * lively), r.uniform(-0.25, 0.25) + wave(0.14 * lively)
    pitch = r.uniform(-0.08, 0.08) + wave(0.05 * lively)
    lid = np.full(frames, r.uniform(0.82, 1.0))
    for blink in np.cumsum(r.uniform(0.5, 2.2, 1 + 2 * int(t[-1] + 1))):
        lid *= 1 - np.exp(-(((t - blink) / 0.06) ** 2))
    phrase = wave(1, 0.2, 0.5) + 1 > r.uniform(0.2, 1.2)
    mouth = np.clip(np.abs(wave(0.55, 1.5, 3.2)) - 0.1, 0, 1) * phrase
    lamp = np.stack([r.uniform(-0.7, 0.7) + wave(0.12), r.uniform(-0.7, -0.1) + wave(0.05), np.ones(frames)], 1)
    lamp /= np.linalg.norm(lamp, axis=1, keepdims=True)
    warm = r.normal(0, 0.05)
    gain = (r.uniform(0.8, 1.12) * (1 + wave(0.025)))[:, None] * np.array([1 + warm, 1, 1 - warm])
    numbers = np.stack([x, y, scale, roll, yaw, pitch, lid, mouth, np.clip(yaw * -3, -1, 1)], 1)
    return [Pose(floats(a), floats(g), *map(float, n)) for a, g, n in zip(lamp, gain, numbers, strict=True)]


def _turn(pose: Pose, roll: float, aside: float) -> NDArray[np.float32]:
    """Return the affine map that moves a layer from the frame's centre to its place in this pose."""
    c, s, middle = np.cos(roll) * pose.scale, np.sin(roll) * pose.scale, SIZE / 2
    return floats([[c, -s, pose.x + aside - middle * (c - s)], [s, c, pose.y - middle * (s + c)]])


def _warp(layer: Image, turn: NDArray[np.float32], border: int = cv2.BORDER_CONSTANT) -> Image:
    return floats(cv2.warpAffine(layer, turn, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=border))


def _put_face(image: Image, who: Person, pose: Pose, texture: Image) -> None:
    """Map the texture onto the head, light it and blend it into the image; pixels outside the face do not change."""
    tall, wide = int(who.looks.h * pose.scale * 1.15 + 3), int(who.looks.w * pose.scale * 1.2 + 12)
    box = (slice(max(int(pose.y) - tall, 0), int(pose.y) + tall), slice(max(int(pose.x) - wide, 0), int(pose.x) + wide))
    dx, dy = XX[box] - np.float32(pose.x), YY[box] - np.float32(pose.y)
    c, s = np.float32(np.cos(pose.roll) / pose.scale), np.float32(np.sin(pose.roll) / pose.scale)
    u, v = (dx * c + dy * s) / np.float32(who.looks.w), (dy * c - dx * s) / np.float32(who.looks.h)
    narrow = 1 - np.float32(who.looks.jaw) * np.maximum(v, 0)
    d = np.abs(u / narrow) ** np.float32(who.looks.square) + v * v
    z = np.sqrt(np.maximum(1 - d, 0))  # depth of the head
    half = np.float32(TEXTURE / 2 / SPAN)
    tu = u * np.float32(np.cos(pose.yaw)) - z * np.float32(0.6 * np.sin(pose.yaw))
    tv = v * np.float32(np.cos(pose.pitch)) - z * np.float32(0.6 * np.sin(pose.pitch))
    to_x, to_y = (tu + SPAN) * half - 0.5, (tv + SPAN) * half - 0.5
    face = cv2.remap(texture, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    nx, ny, nz = u * 0.75, v * 0.5, z + 0.35
    facing = (nx * pose.light[0] + ny * pose.light[1] + nz * pose.light[2]) / np.sqrt(nx * nx + ny * ny + nz * nz)
    inside = soft(1 - d, 0.07)
    face = cv2.multiply(face, cv2.merge([inside * (0.42 + 0.62 * np.maximum(facing, 0))] * 3))
    image[box] = lay(image[box], floats(cv2.merge([face, inside])))
