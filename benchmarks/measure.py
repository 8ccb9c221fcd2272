"""Measure ways of doing the same work by turns, in one run: other work on the machine then slows all of them alike."""

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple, TypeVar

Way = TypeVar("Way")

_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16")
_PACKAGES = ("numpy", "opencv-python-headless", "pandas", "tensorflow", "keras", "ai-edge-litert", "mlflow", "prefect")


class Spread(NamedTuple):
    """The quartiles of a figure that was measured some times."""

    lower: float
    median: float
    upper: float


def seconds(work: Callable[[], Any]) -> float:
    """Return the wall-clock seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(
    ways: Mapping[str, Way], rounds: int = 5, figure: Callable[[Way], float] = seconds
) -> dict[str, list[float]]:
    """Measure each way once a round, in their order.

    Args:
        ways: by name; calls, or what else `figure` measures.
        rounds: how often.
        figure: gives the figure of a way, by default the seconds of a call.

    Returns:
        The figures of each way, one a round.
    """
    figures: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            figures[name].append(figure(way))
    return figures


def spread(figures: list[float]) -> Spread:
    """Return the quartiles of two figures or more."""
    return Spread(*quantiles(figures, method="inclusive"))


def ratio(usual: list[float], ours: list[float]) -> Spread:
    """Return the quartiles of the ratios usual / ours, round by round: the two of a round had the same company."""
    return spread([one / other for one, other in zip(usual, ours, strict=True)])


def machine() -> dict[str, Any]:
    """Return what a figure depends on: processor, versions, commit, and how busy the machine is at this moment."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8") if platform.system() == "Linux" else ""
    named = re.search(r"^model name\s*: (.*)", cpuinfo, re.M)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    return {
        "processor": named[1] if named else platform.processor(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _FLAGS if re.search(rf"\b{flag}\b", cpuinfo)],
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in _PACKAGES},
        "commit": commit.stdout.strip(),
        "load": os.getloadavg()[0],
    }


def save(path: Path, before: dict[str, Any], results: dict[str, Any]) -> None:
    """Write results as JSON, with the machine as it was before, and its load (of the last minute) now."""
    content = {"machine": {**before, "load_after": os.getloadavg()[0]}, **results}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
