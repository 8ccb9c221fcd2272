"""The image of `make image`: built on Debian's packages, and used, without a registry and without a daemon."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import SMALL
from faults.servers import free_port, server
from matplotlib import cbook
from support import ROOT, checkout, shell

pytestmark = pytest.mark.services

BUILD = "BUILD=buildah build --isolation chroot --layers"
BASE = "localhost/ferops-base"
USER = 1000


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """A container of the image, which is built; its layers and the base stay for the next time."""
    missing = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root, and on Debian and Ubuntu: apt-get install buildah mmdebstrap; missing: {missing}")
    if not shell(ROOT, "buildah", "images", "--quiet", BASE, check=False).stdout:
        shell(ROOT, "make", BUILD, "base-image")
    shell(ROOT, "make", BUILD, "image", f"BASE={BASE}")
    name = shell(ROOT, "buildah", "from", "ferops").stdout.strip()
    yield name
    shell(ROOT, "buildah", "rm", name)


def inside(container: str, clone: Path, *command: str) -> list[str]:
    """The command that runs another one in the container, as its user, with a clone mounted."""
    mounted = ("--volume", f"{clone}:/srv/ferops", "--workingdir", "/srv/ferops")
    return ["buildah", "run", "--isolation", "chroot", *mounted, container, "--", *command]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A git repository with a small sample, which belongs to the container's user."""
    folder = tmp_path / "clone"
    folder.mkdir()
    checkout(folder, SMALL)
    shutil.copy(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False), folder / "photo.jpg")
    shell(folder, "chown", "--recursive", f"{USER}:{USER}", ".")
    return folder


def test_the_stages_of_make_demo_run_in_it_as_its_user(container: str, clone: Path) -> None:
    script = "dvc repro && ferops results && dvc exp save --name tried"
    said = shell(clone, *inside(container, clone, "bash", "-c", script)).stdout
    assert "Running stage 'publish'" in said
    assert "accuracy (of seven)" in said
    for name in ("models/core.keras", "metrics/test.json", "predictions.parquet", "mlflow.db"):
        assert (clone / name).stat().st_uid == USER
    assert json.loads((clone / "metrics/val.json").read_text())["n"] > 0
    experiments = shell(clone, *inside(container, clone, "git", "for-each-ref", "refs/exps")).stdout
    assert "/tried" in experiments, "an experiment is a commit, and has an author"


def test_it_finds_the_expression_on_a_photograph(container: str, clone: Path) -> None:
    said = shell(clone, *inside(container, clone, "ferops", "predict", "photo.jpg", "--json")).stdout
    (face,) = json.loads(said)["faces"]
    assert face["label"] == "neutral"


def test_it_serves_that_too(container: str, clone: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    serve = inside(container, clone, "ferops", "serve", "--port", str(port))
    with server(serve, f"{address}/ready", clone.parent / "serve.log"):
        picture = {"pictures": (clone / "photo.jpg").read_bytes()}
        assert "neutral" in httpx.post(f"{address}/predict", files=picture, timeout=60).text
        assert httpx.get(address, timeout=60).status_code == 200


def test_it_says_its_commit_and_keeps_nothing_of_the_machine_that_built_it(container: str, clone: Path) -> None:
    config = json.loads(shell(ROOT, "buildah", "inspect", "--type", "image", "ferops").stdout)["OCIv1"]["config"]
    commit = shell(ROOT, "git", "rev-parse", "HEAD").stdout.strip()
    assert config["Labels"]["org.opencontainers.image.revision"].removesuffix("-dirty") == commit
    assert config["User"] == "ferops"
    script = (
        "test $(id -u) = 1000; ! touch /opt/ferops/x 2>/dev/null; test -s /etc/ssl/certs/ca-certificates.crt;"
        'test -z "$(ls /run/secrets /var/lib/apt/lists /var/cache/apt 2>/dev/null | grep -v :)";'
        'test -z "$(python -m pip config list)"; test -z "$(git -C /opt/ferops log 2>/dev/null)";'
        "find /opt/ferops/src -name '*.pyc' | grep -q ."
    )
    shell(clone, *inside(container, clone, "bash", "-ec", script))
