"""Stage `sample`: draw the faces that stand in for FER2013."""

from pathlib import Path

from ferops import params
from ferops.data.drawn import draw_sample, write_csv
from ferops.data.pictures import contact_sheet, save_png
from ferops.stages import run_stage

FOLDER = Path("data/sample")


def main() -> None:
    """params.sample -> data/sample/fer2013.csv and contact_sheet.png."""
    asked = params.load().sample
    drawn = draw_sample(
        seed=asked.seed, counts={"train": asked.train, "validation": asked.validation, "test": asked.test}
    )
    write_csv(FOLDER / "fer2013.csv", drawn)
    seen = drawn.images.any(axis=(1, 2))  # the blank images say nothing on a contact sheet
    save_png(FOLDER / "contact_sheet.png", contact_sheet(drawn.images[seen], drawn.labels[seen]))


if __name__ == "__main__":
    run_stage(main)
