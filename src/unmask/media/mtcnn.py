"""MTCNN (arXiv:1604.02878) without PyTorch: NumPy around its three networks, which onnxruntime runs.

The boxes equal those of facenet-pytorch within a pixel. The steps are those of the paper: a pyramid of scales, a
network that proposes boxes at every position of each scale, and two networks that reject and correct the proposals.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.media.find import Faces
from unmask.media.kinds import Frames

Array = NDArray[np.float32]
Network = Callable[[Array], Sequence[Array]]  # x [B, 3, H, W] -> outputs

FOLDER = "mtcnn"  # name of the folder with the networks, next to the models that use them
FILES = ("pnet.onnx", "rnet.onnx", "onet.onnx")
SMALLEST, FACTOR = 20, 0.709  # smallest face, px; ratio of one scale of the pyramid to the previous one
CUTS = (0.6, 0.7, 0.7)  # minimum probability after each network
CELL, STRIDE = 12, 2  # field of view of the first network and the distance of its positions, px
SIDES = (24, 48)  # sides of the inputs of the second and the third network, px
MANY = 512  # boxes per batch


class Mtcnn:
    """Detect faces in frames of equal size.

    Args:
        folder: the folder with the files `FILES`, as `unmask export` writes it.

    Raises:
        ValueError: a file is missing, or onnxruntime is not installed.
    """

    smallest = SMALLEST

    def __init__(self, folder: Path) -> None:
        if missing := [name for name in FILES if not (folder / name).is_file()]:
            raise ValueError(
                f"{folder / missing[0]} is missing: a model finds faces with the networks in the folder {FOLDER} next "
                "to it. Copy this folder too, or export the run again"
            )
        self.propose, self.refine, self.output = (_network(folder / name) for name in FILES)

    def detect(self, frames: Frames) -> list[Faces]:
        """Return the faces in each of the frames, uint8 [N, H, W, 3], the largest face first."""
        # Sums of all pixels above and to the left, [H + 1, W + 1, 3].
        summed = [np.asarray(cv2.integral(np.ascontiguousarray(frame)), np.int32) for frame in frames]
        found = [self._refined(self._proposals(one), one) for one in summed]
        frame = np.repeat(np.arange(len(found)), [len(boxes) for boxes, _ in found])
        boxes, score = (np.concatenate(one) for one in zip(*found, strict=True))
        order = np.argsort(-score, kind="stable")
        return self._final(boxes[order], frame[order], summed)

    def _proposals(self, summed: NDArray[np.int32]) -> Array:
        """Return square boxes [n, 4] that may contain a face."""
        height, width = summed.shape[0] - 1, summed.shape[1] - 1
        found = [np.zeros((0, 9), np.float32)]
        for scale in _scales(height, width):
            size = int(height * scale + 1), int(width * scale + 1)
            reg, prob = self.propose(_input(_area(summed, (0, 0, width, height), size)[None]))
            rows, columns = np.nonzero(prob[0, 1] >= CUTS[0])
            corner = np.stack([columns, rows], 1).astype(np.float32) * STRIDE
            first, last = np.floor((corner + 1) / np.float32(scale)), np.floor((corner + CELL) / np.float32(scale))
            score = prob[0, 1, rows, columns][:, None]
            one = np.concatenate([first, last, score, reg[0][:, rows, columns].T], 1).astype(np.float32)
            found.append(one[suppress(one[:, :4], one[:, 4], 0.5)])
        boxes = np.concatenate(found)
        boxes = boxes[suppress(boxes[:, :4], boxes[:, 4], 0.7)]
        sides = np.tile(boxes[:, 2:4] - boxes[:, :2], 2)
        return _square(boxes[:, :4] + boxes[:, 5:] * sides)

    def _refined(self, boxes: Array, summed: NDArray[np.int32]) -> tuple[Array, Array]:
        """Reject boxes with the second network and correct the others -> square boxes [n, 4], probabilities [n]."""
        if not len(boxes):
            return boxes, np.zeros(0, np.float32)
        inside, (reg, prob) = _seen(self.refine, boxes, summed, SIDES[0])
        boxes = boxes[inside]
        sure = prob[:, 1] > CUTS[1]
        boxes, reg, score = boxes[sure], reg[sure], prob[sure, 1]
        kept = suppress(boxes, score, 0.7)
        return _square(_corrected(boxes[kept], reg[kept])), score[kept]

    def _final(self, boxes: Array, frame: NDArray[np.int64], summed: Sequence[NDArray[np.int32]]) -> list[Faces]:
        """Reject and correct the boxes [n, 4] of all frames with the third network, and find the landmarks.

        The boxes of all frames are sorted together, as in facenet-pytorch: many probabilities are 1 in float32, and the
        order of equal values decides which of two nested boxes is kept.
        """
        shown = [(at, *_seen(self.output, boxes[at], summed[number], SIDES[1])) for number, at in _groups(frame)]
        if not shown:
            empty = np.zeros((0, 5, 2), np.float32)
            return [Faces(boxes, boxes[:, 0], empty) for _ in summed]
        rows = np.concatenate([at[inside] for at, inside, _ in shown])
        reg, points, prob = (np.concatenate(one) for one in zip(*(outputs for *_, outputs in shown), strict=True))
        order = np.argsort(rows)
        boxes, frame, reg, points, prob = boxes[rows[order]], frame[rows[order]], reg[order], points[order], prob[order]
        sure = prob[:, 1] > CUTS[2]
        boxes, frame, reg, score = boxes[sure], frame[sure], reg[sure], prob[sure, 1]
        size = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
        landmarks = points[sure].reshape(-1, 2, 5).transpose(0, 2, 1) * size + boxes[:, None, :2] - 1
        boxes = _corrected(boxes, reg)
        kept = suppress_inside(boxes, frame, score, 0.7)
        boxes, frame, score, landmarks = boxes[kept], frame[kept], score[kept], landmarks[kept]
        return [_largest_first(frame == number, boxes, score, landmarks) for number in range(len(summed))]


def _groups(frame: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """Return the number of each frame that has boxes, and the rows of its boxes."""
    return [(int(number), np.flatnonzero(frame == number)) for number in np.unique(frame)]


def _largest_first(chosen: NDArray[np.bool_], boxes: Array, score: Array, landmarks: Array) -> Faces:
    """Return the chosen faces, the largest first."""
    boxes, score, landmarks = boxes[chosen], score[chosen], landmarks[chosen]
    order = np.argsort((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[::-1]
    return Faces(boxes[order], score[order], landmarks[order])


def _network(path: Path) -> Network:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"an ONNX file needs onnxruntime: pip install onnxruntime ({error})") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x: Array) -> list[Array]:
        return [np.asarray(one, np.float32) for one in session.run(None, {name: x})]

    return run


def _scales(height: int, width: int) -> list[float]:
    """Return the scales of the pyramid: at the first one, the smallest face fills the first network's view."""
    scale, scales = CELL / SMALLEST, list[float]()
    side = min(height, width) * scale
    while side >= CELL:
        scales.append(scale)
        scale, side = scale * FACTOR, side * FACTOR
    return scales


def _input(pixels: NDArray[np.float64]) -> Array:
    """Convert pixels [B, H, W, 3] in [0, 255] to the input of the networks [B, 3, H, W], about -1 to 1."""
    scaled = (pixels.astype(np.float32) - np.float32(127.5)) * np.float32(0.0078125)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _area(summed: NDArray[np.int32], box: tuple[int, int, int, int], size: tuple[int, int]) -> NDArray[np.float64]:
    """Resize a part of a picture by averaging over areas whose borders are whole pixels -> [height, width, 3].

    Args:
        summed: the integral image.
        box: left, top, right, bottom of the part, px.
        size: height and width of the result.
    """
    left, top, right, bottom = box
    y0, y1 = _borders(top, bottom, size[0])
    x0, x1 = _borders(left, right, size[1])
    total = summed[np.ix_(y1, x1)] - summed[np.ix_(y0, x1)] - summed[np.ix_(y1, x0)] + summed[np.ix_(y0, x0)]
    return np.asarray(total / ((y1 - y0)[:, None] * (x1 - x0)[None])[..., None])


def _borders(first: int, last: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide [first, last) into `count` ranges, which may overlap by a pixel; return their starts and ends."""
    at, length = np.arange(count), last - first
    return first + at * length // count, first + -(-(at + 1) * length // count)


def _seen(
    network: Network, boxes: Array, summed: NDArray[np.int32], side: int
) -> tuple[NDArray[np.bool_], list[Array]]:
    """Show boxes to a network; return which of them are not empty within the picture, and the outputs for these."""
    height, width = summed.shape[0] - 1, summed.shape[1] - 1
    whole = np.trunc(boxes).astype(np.int64)
    corner, end = np.maximum(whole[:, :2], 1) - 1, np.minimum(whole[:, 2:], (width, height))
    inside = np.asarray((end > corner).all(1))
    parts = np.concatenate([corner, end], 1)[inside].tolist()
    outputs = [list(network(np.zeros((0, 3, side, side), np.float32)))] if not parts else []
    for start in range(0, len(parts), MANY):
        some = [_area(summed, (x0, y0, x1, y1), (side, side)) for x0, y0, x1, y1 in parts[start : start + MANY]]
        outputs.append(list(network(_input(np.stack(some)))))
    return inside, [np.concatenate(one) for one in zip(*outputs, strict=True)]


def _corrected(boxes: Array, reg: Array) -> Array:
    """Move the borders of boxes by shares of their sizes, both [n, 4]."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)
    return np.asarray(boxes + reg * size, np.float32)


def _square(boxes: Array) -> Array:
    """Enlarge boxes to squares with the same centres."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(1, keepdims=True) if len(boxes) else size[:, :1]
    corner = boxes[:, :2] + size / 2 - side / 2
    return np.asarray(np.concatenate([corner, corner + side], 1), np.float32)


def suppress(boxes: Array, score: Array, most: float) -> NDArray[np.int64]:
    """Return the boxes to keep, the highest score first: of two whose IoU is above `most`, only the higher one.

    Of two boxes with equal scores, the first one is kept.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-score, kind="stable")
    return _greedy(boxes, order, most, lambda one, rest, inter: inter / (area[one] + area[rest] - inter), 0)


def suppress_inside(boxes: Array, frame: NDArray[np.int64], score: Array, most: float) -> NDArray[np.int64]:
    """As `suppress`, but the intersection is divided by the smaller area, so that a box within another one is dropped.

    Here, a box includes the pixels on its right and lower border. Boxes of different frames do not overlap. Of two
    boxes with equal scores, the one that NumPy's default sort puts last is kept, as in facenet-pytorch.
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    boxes = boxes + (frame * (boxes.max() + 1)).astype(np.float32)[:, None]
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    order = np.argsort(score)[::-1]
    return _greedy(boxes, order, most, lambda one, rest, inter: inter / np.minimum(area[one], area[rest]), 1)


def _greedy(
    boxes: Array,
    order: NDArray[np.int64],
    most: float,
    overlap: Callable[[int, NDArray[np.int64], Array], Array],
    border: int,
) -> NDArray[np.int64]:
    """Keep the first box in `order`, drop all boxes that overlap it by more than `most`, and so on."""
    kept = list[int]()
    while len(order):
        one, rest = int(order[0]), order[1:]
        kept.append(one)
        corner = np.maximum(boxes[one, :2], boxes[rest, :2])
        size = np.maximum(np.minimum(boxes[one, 2:], boxes[rest, 2:]) - corner + border, 0)
        order = rest[~(overlap(one, rest, size[:, 0] * size[:, 1]) > most)]
    return np.asarray(kept, np.int64)
