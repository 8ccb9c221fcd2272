"""How many pasted faces `ferops predict` finds, and how accurate it is on those: the figures of docs/guide/predict.md.

Run it in the repository's root after `dvc repro preprocess` on FER2013 with the recipe `lean_cnn`:
`python benchmarks/faces_in_pictures.py 1200`, or with another detector: `... 100 mtcnn`.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from matplotlib import cbook
from numpy.typing import NDArray
from rich.progress import track
from sklearn.datasets import load_sample_image

from ferops.data import prepared
from ferops.predict import detection, detectors, networks
from ferops.predict.detection import Detection, Picture

WIDTHS = (120, 80, 50, 30)
"""Of the pasted heads' faces, in pixels."""

TRIALS = 40
ENLARGED = 4
TURNED = 15  # degrees, at most, each way
SIZE = (1200, 900)


def main(faces: int, detector_name: str) -> None:
    """Paste heads and FER2013's faces into a photograph, and print what is found."""
    detector, random = detectors.load(detector_name), np.random.default_rng(2013)
    background = np.asarray(cv2.resize(load_sample_image("china.jpg"), SIZE), np.uint8)
    print(f"in the photograph itself: {len(detector.find(background))} faces")

    with cbook.get_sample_data("grace_hopper.jpg") as stream:
        portrait = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
    (face,) = detectors.load("blazeface").find(portrait)
    left, top, right, bottom = face.box.astype(int)
    margin = (right - left) // 4
    head = portrait[top - margin : bottom + margin, left - margin : right + margin]
    for width in WIDTHS:
        found = 0
        for _ in range(TRIALS):
            picture, centre = paste(head, width / (right - left), background, random)
            found += nearest(detector.find(picture), centre, width / 2) is not None
        print(f"heads {width} pixels wide: {found} of {TRIALS}")

    images, labels = prepared.load(Path("data/prepared")).split("validation")
    chosen = random.permutation(len(labels))[:faces]
    crops, kept = [], []
    for at in track(chosen, "FER2013's faces", transient=True):
        picture, centre = paste(images[at][..., None].repeat(3, axis=2), ENLARGED, background, random)
        if found_face := nearest(detector.find(picture), centre, ENLARGED * images.shape[1] / 2):
            crops.append(detection.cut(picture, found_face.corners))
            kept.append(at)
    network = networks.load()
    itself, pasted = (
        float((network.probabilities(np.ascontiguousarray(each)).argmax(axis=1) == labels[kept]).mean())
        for each in (images[kept], np.array(crops))
    )
    print(f"PublicTest: {len(kept)} of {faces} found ({len(kept) / faces:.1%})")
    print(f"accuracy of {network.name} on these: {itself:.3f} on the images, {pasted:.3f} through predict")


def paste(
    face: Picture, scale: float, background: Picture, random: np.random.Generator
) -> tuple[Picture, NDArray[np.float64]]:
    """Return the background with a face at a random place, scaled and turned, and where its centre is."""
    height, width = face.shape[:2]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = cv2.getRotationMatrix2D(tuple(middle), random.uniform(-TURNED, TURNED), scale)
    reach = scale * max(height, width) * 0.7
    centre = np.array([random.uniform(reach, side - reach) for side in SIZE])
    matrix[:, 2] += centre - middle
    smooth = face if scale >= 1 else cv2.GaussianBlur(face, None, 0.5 / scale)
    pasted = cv2.warpAffine(smooth, matrix, SIZE, flags=cv2.INTER_CUBIC)
    mask = cv2.warpAffine(np.full((height, width), 255, np.uint8), matrix, SIZE) > 200
    return np.where(mask[..., None], pasted, background), centre


def nearest(found: list[Detection], centre: NDArray[np.float64], within: float) -> Detection | None:
    """Return the first face whose centre is near, or None."""
    near = (face for face in found if np.hypot(*((face.box[:2] + face.box[2:]) / 2 - centre)) < within)
    return next(near, None)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "blazeface")
