"""Measure every line of the table of docs/performance.md in one run, into benchmarks/results.json: `make bench`.

    python benchmarks/run.py [COPY OF FER2013]

Without a copy the images are the synthetic sample's, repeated to the same number. Other work on the machine is recorded
as its load; figures are for a machine that does nothing else.
"""

import sys
import tempfile
import time
from pathlib import Path

import commands
import floors
import images
import measure
import numpy as np
import one_image
import serving
import training
from report import RESULTS

from ferops.data.readers import layouts
from ferops.data.synthetic import generator
from ferops.errors import FeropsError
from ferops.labels import OFFICIAL_COUNTS, SPLITS, USAGES

SAMPLE = {"train": 1400, "validation": 350, "test": 350}


def main(copy: Path | None) -> None:
    """Measure, and write the results."""
    started, before = time.perf_counter(), measure.machine()
    rates = floors.rates()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        csv = write_csv(scratch / "fer2013.csv", copy)
        lines = images.lines(csv, scratch, rates["bytes copied a second"])
        lines += training.lines()
        lines += one_image.lines(layouts.read(csv).images, scratch, rates["operations a second"])
    with commands.small_pipeline() as (pipeline, environment):
        lines += commands.lines(pipeline, environment)
        lines += serving.lines("fer-lean-cnn/1", environment)
    results = {
        "images": "FER2013" if copy else "synthetic, FER2013's number",
        "minutes": (time.perf_counter() - started) / 60,
        "floors": rates,
        "lines": [line.as_json() for line in lines],
    }
    measure.save(RESULTS, before, results)


def write_csv(path: Path, copy: Path | None) -> Path:
    """Write the images of a copy, in any layout, or the synthetic ones as fer2013.csv."""
    if copy:
        faces = layouts.read(copy)
        splits = [USAGES[usage] for usage in faces.usages.tolist()]
        sample = generator.SyntheticSample(faces.images, faces.labels, np.array(splits))
    else:
        few = generator.generate_sample(seed=0, counts=SAMPLE)
        rows = np.resize(np.arange(len(few.images)), sum(sum(OFFICIAL_COUNTS[split]) for split in SPLITS))
        sample = generator.SyntheticSample(*(column[rows] for column in few))
    generator.write_csv(path, sample)
    return path


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if sys.argv[1:] else None)
    except FeropsError as error:
        sys.exit(str(error))
