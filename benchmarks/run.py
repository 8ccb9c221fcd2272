"""Measure every line of the table of docs/performance.md in one run, into benchmarks/results.json: `make bench`.

    python benchmarks/run.py [COPY OF FER2013]

Without a copy the images are the synthetic sample's, repeated to the same number. Other work on the machine is recorded
as its load; figures are for a machine that does nothing else.
"""

import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    """Measure, and write the results after each part; what fails loses its own lines alone."""
    started, before = time.perf_counter(), measure.machine()
    sample, rates = faces(copy), floors.rates()
    results: dict[str, Any] = {
        "images": f"{copy.name if copy else 'synthetic'}, {len(sample.images):,}", "floors": rates, "lines": []
    }  # fmt: skip
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        csv = scratch / "fer2013.csv"
        generator.write_csv(csv, sample)
        parts = {
            "images": lambda: images.lines(csv, scratch, rates["bytes copied a second"]),
            "training": training.lines,
            "one image": lambda: one_image.lines(sample.images, scratch, rates["operations a second"]),
            "commands and servers": in_a_pipeline,
        }
        for name, part in parts.items():
            try:
                for line in part():
                    results["lines"].append(line.as_json())
            except (Exception, SystemExit):
                traceback.print_exc()
                failed.append(name)
            results["minutes"] = (time.perf_counter() - started) / 60
            measure.save(RESULTS, before, results)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; {RESULTS.name} has what was measured")


def faces(copy: Path | None) -> generator.SyntheticSample:
    """Return the images of a copy, in any layout, or synthetic ones, as many as FER2013 has."""
    if copy:
        read = layouts.read(copy)
        splits = [USAGES[usage] for usage in read.usages.tolist()]
        return generator.SyntheticSample(read.images, read.labels, np.array(splits))
    few = generator.generate_sample(seed=0, counts=SAMPLE)
    rows = np.resize(np.arange(len(few.images)), sum(sum(OFFICIAL_COUNTS[split]) for split in SPLITS))
    return generator.SyntheticSample(*(column[rows] for column in few))


def in_a_pipeline() -> Iterator[measure.Line]:
    """Measure commands and servers, in a small pipeline that is up to date."""
    with commands.small_pipeline() as (pipeline, environment):
        yield from commands.lines(pipeline, environment)
        yield from serving.lines("fer-lean-cnn/1", environment)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if sys.argv[1:] else None)
    except FeropsError as error:
        sys.exit(str(error))
