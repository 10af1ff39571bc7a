"""Track faces over frames: link boxes by IoU, then fill gaps and smooth jitter by a constant-velocity Kalman filter.

The filter runs forwards over the frame numbers, then the Rauch-Tung-Striebel smoother backwards (Rauch et al., 1965),
so that every box depends on all detections of its track.
"""

from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from unmask.media.find import Array, Faces

# Standard deviations of the filter's noise, as shares of the face's size: the error of a detected box, and the change
# of a face's velocity (face sizes per frame) from one frame to the next.
BOX_NOISE, VELOCITY_NOISE = 0.03, 0.01

# A face's share is the largest share of its box, over all frames, that the mask covers. The face counts as changed if
# this share is at least TOUCHED, and at least BLED times the largest share of any face. One repainted eye covers 2 to
# 5 % of a box, so TOUCHED only excludes noise. BLED excludes a neighbouring face if the mask of a swapped face extends
# a little into its box (a swap covers 50 to 100 % of its own box).
TOUCHED, BLED = 0.01, 0.2


@dataclass
class Track:
    """Detections of one face; `frames` are positions in the list of searched frames."""

    frames: list[int] = field(default_factory=list)
    boxes: list[Array] = field(default_factory=list)
    probs: list[float] = field(default_factory=list)
    landmarks: list[Array] = field(default_factory=list)

    def add(self, frame: int, faces: Faces, which: int) -> None:
        """Append one detection."""
        self.frames.append(frame)
        self.boxes.append(faces.boxes[which])
        self.probs.append(float(faces.probs[which]))
        self.landmarks.append(faces.landmarks[which])

    @property
    def width(self) -> float:
        """Median width of the face, px."""
        return float(np.median([box[2] - box[0] for box in self.boxes]))

    @property
    def weight(self) -> float:
        """Sum of area times probability over the detections, px^2."""
        sizes = [float(max(b[2] - b[0], 0) * max(b[3] - b[1], 0)) for b in self.boxes]
        return sum(size * prob for size, prob in zip(sizes, self.probs, strict=True))


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the intersection over union of boxes [n, 4] and [m, 4] -> [n, m]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-9), np.float64)


def associate(found: list[Faces], min_prob: float = 0.9, min_iou: float = 0.2, max_gap: int = 8) -> list[Track]:
    """Link the faces of consecutive frames into tracks, sorted by descending weight.

    Args:
        found: the faces of each searched frame, in order.
        min_prob: minimum probability of a detection; less probable ones are ignored.
        min_iou: minimum IoU of a face with the last box of its track; otherwise, the face starts a new track.
        max_gap: maximum number of searched frames from one detection of a track to the next.
    """
    tracks: list[Track] = []
    for frame, faces in enumerate(found):
        keep = np.flatnonzero(faces.probs >= min_prob)
        live = [track for track in tracks if frame - track.frames[-1] <= max_gap]
        taken: set[int] = set()
        if live and len(keep):
            overlap = iou(np.stack([track.boxes[-1] for track in live]), faces.boxes[keep])
            # Imported lazily, because this takes a fifth of PyTorch's import time.
            from scipy.optimize import linear_sum_assignment

            for row, column in zip(*linear_sum_assignment(-overlap), strict=True):
                if overlap[row, column] >= min_iou:
                    live[row].add(frame, faces, int(keep[column]))
                    taken.add(int(keep[column]))
        for which in keep:
            if int(which) not in taken:
                tracks.append(track := Track())
                track.add(frame, faces, int(which))
    return sorted(tracks, key=lambda track: -track.weight)


def main_face(tracks: list[Track]) -> list[Track]:
    """Return the tracks of the face that the video shows most, in order of time.

    A face has several tracks if it jumps: at cuts, and between frames that are seconds apart. Therefore, tracks count
    as one face if they do not overlap in time and are at least half as wide as the track of greatest weight.
    """
    pieces: list[Track] = []
    for track in tracks:  # by descending weight
        apart = all(track.frames[-1] < other.frames[0] or other.frames[-1] < track.frames[0] for other in pieces)
        if apart and track.width >= 0.5 * tracks[0].width:
            pieces.append(track)
    return sorted(pieces, key=lambda track: track.frames[0])


def all_faces(tracks: list[Track], searched: int) -> tuple[list[list[Track]], int]:
    """Return the main face, and other faces detected in at least 3 frames and at least 10 % of the searched frames.

    Detections in fewer frames are mostly not faces. If only 1 or 2 frames were searched, a face must be in all of them.

    Args:
        tracks: result of `associate`.
        searched: number of frames that were searched.

    Returns:
        The faces by descending weight, each as a list of tracks, and the number of faces detected in too few frames.
    """
    fewest = min(searched, max(3, ceil(0.1 * searched)))
    faces: list[list[Track]] = []
    brief, left = 0, list(tracks)
    while left:
        face = main_face(left)
        left = [track for track in left if not any(track is piece for piece in face)]
        if not faces or sum(len(piece.frames) for piece in face) >= fewest:
            faces.append(face)
        else:
            brief += 1
    return faces, brief


def changed(tracks: list[Track], masks: NDArray[np.bool_]) -> tuple[list[Track], list[Track]]:
    """Divide tracks into those that a mask touches and those that no mask touches; both lists keep the given order.

    Args:
        tracks: result of `associate`.
        masks: masks of the searched frames [M, H, W], true where manipulated.

    Returns:
        The tracks that count as changed by `TOUCHED` and `BLED`, and the other tracks.
    """
    shares = [_white(track, masks) for track in tracks]
    least = max(TOUCHED, BLED * max(shares, default=0.0))
    touched = [track for track, share in zip(tracks, shares, strict=True) if share >= least]
    return touched, [track for track, share in zip(tracks, shares, strict=True) if share < least]


def _white(track: Track, masks: NDArray[np.bool_]) -> float:
    """Return the share of a face's box (clipped to the frame) that the mask covers, maximised over the frames.

    Args:
        track: the detections of the face.
        masks: masks of the searched frames [M, H, W].
    """
    shares = [0.0]
    for frame, box in zip(track.frames, track.boxes, strict=True):
        left, top, right, bottom = np.maximum(np.round(box), 0).astype(int)
        inside = masks[frame, top:bottom, left:right]
        shares.append(float(inside.mean()) if inside.size else 0.0)
    return max(shares)


def smooth(track: Track, times: NDArray[np.integer], searched: NDArray[np.integer]) -> tuple[Array, Array]:
    """Return smoothed boxes [N, 4] and landmarks [N, 5, 2] of a track at every wanted frame.

    Args:
        track: the detections; `track.frames` are positions in `searched`.
        times: frame numbers for which a box is wanted, ascending [N].
        searched: frame numbers that were searched [M].
    """
    seen = np.asarray(searched)[track.frames]
    boxes, points = np.stack(track.boxes), np.stack(track.landmarks)
    size = float(np.median(boxes[:, 2] - boxes[:, 0]))
    centre_size = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    every = np.union1d(times, seen)
    state = _kalman(every, seen, centre_size, size)[np.searchsorted(every, times)]
    # Landmarks are interpolated relative to the detected boxes and then placed in the smoothed boxes.
    relative = (points - centre_size[:, None, :2]) / centre_size[:, None, 2:]
    flat = relative.reshape(len(seen), -1)
    between = np.stack([np.interp(times, seen, column) for column in flat.T], axis=1).reshape(-1, 5, 2)
    smoothed = np.concatenate([state[:, :2] - state[:, 2:] / 2, state[:, :2] + state[:, 2:] / 2], axis=1)
    return smoothed.astype(np.float32), (between * state[:, None, 2:] + state[:, None, :2]).astype(np.float32)


def _kalman(every: NDArray[np.integer], seen: NDArray[np.integer], values: Array, size: float) -> NDArray[np.float64]:
    """Smooth measurements [len(seen), 4] -> [len(every), 4]; each column is filtered as a position with a velocity."""
    measured = dict(zip(seen.tolist(), values.astype(np.float64), strict=True))
    noise, drift = (BOX_NOISE * size) ** 2, (VELOCITY_NOISE * size) ** 2
    mean = np.zeros((2, values.shape[1]))  # position and velocity of each coordinate
    mean[0] = values[0]
    covariance = np.diag([noise, (0.1 * size) ** 2])
    predicted, filtered, steps = [], [], []
    for number, frame in enumerate(every):
        gap = float(every[number] - every[number - 1]) if number else 0.0
        step = np.array([[1.0, gap], [0.0, 1.0]])
        spread = drift * np.array([[gap**3 / 3, gap**2 / 2], [gap**2 / 2, gap]])
        mean, covariance = step @ mean, step @ covariance @ step.T + spread
        predicted.append((mean, covariance))
        if int(frame) in measured:
            gain = covariance[:, :1] / (covariance[0, 0] + noise)
            mean = mean + gain @ (measured[int(frame)] - mean[0])[None]
            covariance = covariance - gain @ covariance[:1]
        filtered.append((mean, covariance))
        steps.append(step)
    result = [filtered[-1][0]]
    for number in range(len(every) - 2, -1, -1):
        mean, covariance = filtered[number]
        ahead_mean, ahead_covariance = predicted[number + 1]
        gain = covariance @ steps[number + 1].T @ np.linalg.inv(ahead_covariance)
        result.append(mean + gain @ (result[-1] - ahead_mean))
    return np.stack([mean[0] for mean in reversed(result)])
