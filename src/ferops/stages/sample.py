"""sample: the drawn stand-in for FER2013, so that the whole workflow runs where the data set is not at hand.

Reads the section `sample` of params.yaml.
"""

from pathlib import Path
from typing import Final

from rich.console import Console

from ferops import params as parameters
from ferops.data import pictures
from ferops.data.synthetic import generator
from ferops.labels import SPLITS

SAMPLE: Final = Path("data/sample")


def main() -> None:
    """Draw the faces; write them in Kaggle's layout, and a sheet of examples to look at."""
    params = parameters.load()
    counts = {"train": params.sample.train, "validation": params.sample.validation, "test": params.sample.test}

    with Console().status("drawing faces"):
        faces = generator.generate_sample(seed=params.sample.seed, counts=counts)

    generator.write_csv(SAMPLE / "fer2013.csv", faces)
    pictures.save_png(SAMPLE / "contact_sheet.png", pictures.contact_sheet(faces.images, faces.labels))
    shares = ", ".join(f"{split} {counts[split]:,}" for split in SPLITS)
    print(f"drew {len(faces.images):,} faces from seed {params.sample.seed}: {shares}")
