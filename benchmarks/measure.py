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
Figure = TypeVar("Figure")

_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16")
_PACKAGES = ("numpy", "opencv-python-headless", "pandas", "tensorflow", "keras", "ai-edge-litert", "mlflow", "prefect")


class Line(NamedTuple):
    """A line of the table of docs/performance.md: a piece of work, done in the usual way and in ours.

    Fields:
        work: what is done.
        usual, ours: how.
        unit: of the figures, of which less is better.
        slow, fast: the figures of the usual way and of ours, one a round; `slow` is empty where there is no usual way.
        lead: the best ratio that was seen anywhere, or None.
        floor: what the machine itself needs, in `unit`, or None.
        needs: the processor's flag with which the lead was seen, where it depends on one.
    """

    work: str
    usual: str
    ours: str
    unit: str
    slow: list[float]
    fast: list[float]
    lead: float | None = None
    floor: float | None = None
    needs: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the quartiles in place of the figures, and those of the ratio, round by round."""
        ratios = {"slow": spread(self.slow), "ratio": ratio(self.slow, self.fast)} if self.slow else {}
        return {**self._asdict(), "fast": spread(self.fast), **ratios}


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


def peak_memory() -> float:
    """Return the greatest memory of this process so far, in MiB; Linux only.

    `ru_maxrss` won't do: it begins with the memory of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 1024


def compare(
    ways: Mapping[str, Way], rounds: int = 5, figure: Callable[[Way], Figure] = seconds
) -> dict[str, list[Figure]]:
    """Measure each way once a round, in their order.

    Args:
        ways: by name; calls, or what else `figure` measures.
        rounds: how often.
        figure: gives the figure of a way, by default the seconds of a call.

    Returns:
        The figures of each way, one a round.
    """
    figures: dict[str, list[Figure]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            figures[name].append(figure(way))
    return figures


def spread(figures: list[float]) -> Spread:
    """Return the quartiles of two figures or more."""
    return Spread(*quantiles(figures, method="inclusive"))


def ratio(usual: list[float], ours: list[float]) -> Spread:
    """Return the quartiles of the ratios usual / ours, round by round: the two of a round ran under the same load."""
    return spread([one / other for one, other in zip(usual, ours, strict=True)])


def machine() -> dict[str, Any]:
    """Return what figures depend on: processor, versions, commit, and how busy the machine was in the last minute."""
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


def save(path: Path, before: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Write and return results as JSON, with the machine as it was before they were measured, and its load now."""
    content = {"machine": {**before, "load_after": os.getloadavg()[0]}, **results}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return content
