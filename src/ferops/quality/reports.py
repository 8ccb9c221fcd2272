"""Read the reports that `preprocess` and `augment` write beside their arrays, strictly."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ferops.errors import FeropsError

Count = Annotated[int, Field(ge=0)]
ClassCounts = Annotated[tuple[Count, ...], Field(min_length=7, max_length=7)]


class BadReport(FeropsError):
    """A report.json is missing, is not JSON or lacks a key that a gate needs."""


class _Report(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the report in a file.

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


class Dropped(BaseModel, extra="forbid", frozen=True):
    """Numbers of images that the cleaning removed, by reason."""

    blank: Count
    overrides: Count = 0
    duplicates: Count


class PreparedReport(_Report):
    """The report of `preprocess`: images read, kept and dropped, per class (in code order) of each split."""

    dataset: Literal["sample", "fer2013", "other"]
    split: Literal["official", "random", "folders"]
    read: dict[str, ClassCounts]
    kept: dict[str, ClassCounts]
    dropped: Dropped


class AugmentedReport(_Report):
    """The report of `augment`: the minimum share, and training images per class (in code order) before and after."""

    min_share: float = Field(ge=0, le=1)
    before: ClassCounts
    after: ClassCounts
