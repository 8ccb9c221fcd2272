"""One thin module a DVC stage: read files, call the packages, write files."""

from pathlib import Path
from typing import Final

SCRATCH: Final = Path(".scratch")
"""Checkpoints of trainings under way, one folder each: no stage's out, so that a killed one can go on."""
