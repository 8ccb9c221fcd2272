"""Pack data/prepared into PNG sheets, labels and a checksum for train.py: python recipes/h200/pack.py OUT_FOLDER.

Training and validation images; PrivateTest stays out. Run it after `dvc repro preprocess` on FER2013, recipe `best`.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ferops.data import prepared
from ferops.labels import SIDE

COLUMNS, ROWS = 42, 73
"""Images of a sheet."""


def main(out: Path) -> None:
    """Write sheet00.png and on, labels.npy (the number of training images, then all labels) and check.json."""
    data = prepared.load(Path("data/prepared"))
    (faces, labels), (more_faces, more_labels) = data.split("train"), data.split("validation")
    every = np.concatenate([faces, more_faces])
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "labels.npy", np.concatenate([[len(faces)], labels, more_labels]).astype(np.int32))
    check = {"n": len(every), "sum": int(every.sum(dtype=np.int64))}
    (out / "check.json").write_text(json.dumps(check), encoding="utf-8")
    for number, start in enumerate(range(0, len(every), COLUMNS * ROWS)):
        some = every[start : start + COLUMNS * ROWS]
        rows = -(-len(some) // COLUMNS)
        sheet = np.zeros((rows * COLUMNS, SIDE, SIDE), np.uint8)
        sheet[: len(some)] = some
        tiles = sheet.reshape(rows, COLUMNS, SIDE, SIDE).transpose(0, 2, 1, 3)
        Image.fromarray(tiles.reshape(rows * SIDE, COLUMNS * SIDE)).save(out / f"sheet{number:02d}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
