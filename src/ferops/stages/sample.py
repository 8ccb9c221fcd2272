"""sample: the synthetic sample, with which the whole workflow runs where FER2013 is not at hand.

Reads the section `sample` of params.yaml.
"""

from pathlib import Path
from typing import Final

from rich.console import Console

from ferops import params as parameters
from ferops.data import pictures
from ferops.data.synthetic import generator

SAMPLE: Final = Path("data/sample")


def main() -> None:
    """Generate the synthetic sample; write it in the layout of Kaggle's CSV, with a contact sheet."""
    params = parameters.load()
    counts = params.sample.model_dump(exclude={"seed"})

    with Console().status("generating faces"):
        sample = generator.generate_sample(seed=params.sample.seed, counts=counts)

    generator.write_csv(SAMPLE / "fer2013.csv", sample)
    pictures.save_png(SAMPLE / "contact_sheet.png", pictures.contact_sheet(sample.images, sample.labels))
    shares = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    print(f"generated {len(sample.images):,} faces from seed {params.sample.seed}: {shares}")
