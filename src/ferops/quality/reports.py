"""The reports that `preprocess` and `augment` write beside their arrays, read back strictly."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ferops.errors import FeropsError

Count = Annotated[int, Field(ge=0)]
ClassCounts = Annotated[tuple[Count, ...], Field(min_length=7, max_length=7)]


class BadReport(FeropsError):
    """A report.json is missing, is not JSON or lacks what a gate reads from it."""


class _Report(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The report in a file.

        Raises:
            BadReport: naming the file, the key and what is wrong with it.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise BadReport(f"{path} is missing; `dvc repro` writes it") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"]) or "the file"
            raise BadReport(f"{path}: {key}: {first['msg']}") from None


class Dropped(BaseModel):
    """How many images the cleaning took out, by reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blank: Count
    duplicates: Count


class PreparedReport(_Report):
    """What `preprocess` read, kept and dropped: images per class (in code order) of each split."""

    dataset: Literal["sample", "fer2013", "other"]
    split: Literal["official", "random", "folders"]
    read: dict[str, ClassCounts]
    kept: dict[str, ClassCounts]
    dropped: Dropped


class AugmentedReport(_Report):
    """What `augment` was asked for and did: training images per class (in code order)."""

    min_share: float = Field(ge=0, le=1)
    before: ClassCounts
    after: ClassCounts
