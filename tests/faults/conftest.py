"""A tracking server with injected faults."""

from collections.abc import Iterator

import pytest
from faults.servers import Gateway, mlflow_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def gateway(server: str) -> Iterator[Gateway]:
    opened = Gateway(server)
    yield opened
    opened.close()
