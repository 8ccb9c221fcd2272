"""The answers as OpenAPI describes them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from ferops.model.serving.exported import Card, Share


class Face(BaseModel):
    """A face and its expression."""

    box: Annotated[list[int], Field(min_length=4, max_length=4, description="left, top, width, height in pixels")]
    detector_score: Share
    label: str
    probability: Share
    probabilities: dict[str, Share]
    uncertain: bool


class Picture(BaseModel):
    """A picture: its faces from left to right, or why it could not be read."""

    schema_: Annotated[Literal["ferops.prediction/1"], Field(alias="schema")]
    path: Annotated[str, Field(description="name of the uploaded file; empty for JSON")]
    model: str
    faces: list[Face] | None = None
    error: str | None = None


class Predictions(BaseModel):
    """The pictures of a request, in order."""

    predictions: list[Picture]


class Model(BaseModel):
    """The network that answers, and the server's limits."""

    name: str
    version: str | None
    digest: str | None
    detector: str
    card: Card | None
    limits: dict[str, float]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str
