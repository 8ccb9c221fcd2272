import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.testing.utilities import prefect_test_harness
from support import ROOT


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def flow(repro: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(repro)
    return runpy.run_path(str(ROOT / "flows/training.py"))


def test_each_stage_comes_after_those_it_reads(flow: dict[str, Any]) -> None:
    order = flow["stages"]()
    assert order[-1] == "publish"
    expected = ["sample", "preprocess", "validate@prepared", "augment", "validate@augmented", "train", "evaluate"]
    assert sorted(order[:-1], key=expected.index) == expected
    assert order[:-1] == expected


def test_the_flow_tells_cached_stages_from_those_that_ran(flow: dict[str, Any], server: None) -> None:
    done = flow["training"]()
    assert done.pop("publish") == "ran"
    assert set(done.values()) == {"cached"}
    assert len(done) == 7
