"""compose.yaml: the stack of its commands takes a run from the deployment to the team's MLflow server."""

import http.client
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import mlflow
import pytest
from faults.repros import eventually
from faults.servers import server
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from services.deployed import Deployed
from services.servers import SECRETS, Team
from support import ROOT, shell

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def stack(started: Team, committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The team's servers, Prefect's server on the same PostgreSQL, and a worker in a clone."""
    folder = tmp_path_factory.mktemp("stack")
    clone = folder / "clone"
    shutil.copytree(committed, clone, symlinks=True)
    (clone / "mlflow.db").unlink()
    started.empty()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_", "MLFLOW_"))}
    home = {"PREFECT_HOME": str(folder / "home")}
    command, settings = started.service("prefect")
    worker, environment = started.service("worker")
    address = environment["PREFECT_API_URL"]
    with (
        server(command, f"{address}/health", folder / "prefect.log", **settings, **home),
        SyncPrefectClient(address) as client,
    ):
        here = Deployed(clone, clone, ours | home | environment, client, folder / "left")
        try:
            here.start_worker(*worker)
            yield here
        finally:
            here.end()


def pool_is_there(client: SyncPrefectClient, name: str) -> bool:
    try:
        return bool(client.read_work_pool(name))
    except ObjectNotFound:
        return False


def test_a_run_that_the_worker_takes_is_published_to_the_teams_server(stack: Deployed, started: Team) -> None:
    eventually(lambda: pool_is_there(stack.client, "ferops"), 60, lambda: "the pool that the worker makes")
    stack.type("prefect", "--no-prompt", "deploy", "--all")
    run = stack.start("training/nightly", overrides={"train.seed": 7, "train.epochs": 1, "evaluate.test": False})
    stack.wait(run, "Completed")
    client = mlflow.MlflowClient(started.mlflow)
    runs = client.search_runs([client.get_experiment_by_name("fer-vgg16").experiment_id])
    assert [(one.data.params["train.seed"], one.info.status) for one in runs] == [("7", "FINISHED")]
    assert any(key.endswith("model.keras") for key in started.keys("mlflow"))
    assert not (stack.clone / "mlflow.db").exists(), "nothing stays in the clone"


def test_mlflow_answers_to_its_name_in_the_stack_and_to_no_other(started: Team) -> None:
    answers = {}
    for name in ("mlflow:5000", "127.0.0.1:5000", "evil.example.org"):
        connection = http.client.HTTPConnection(started.addresses["mlflow:5000"], timeout=30)
        connection.request(
            "GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default", headers={"Host": name}
        )
        answers[name] = connection.getresponse().status
        connection.close()
    assert answers == {"mlflow:5000": 200, "127.0.0.1:5000": 200, "evil.example.org": 403}


def test_pools_of_docker_and_kubernetes_know_every_variable_of_their_deployments(stack: Deployed) -> None:
    for kind in ("docker", "kubernetes"):
        stack.type("prefect", "work-pool", "create", f"ferops-{kind}", "--type", kind)
    shell(stack.clone, "git", "remote", "add", "origin", "https://git.example.org/you/ferops.git")
    stack.type("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "prefect.docker.yaml")
    for kind in ("docker", "kubernetes"):
        deployment = stack.client.read_deployment_by_name(f"training/{kind}")
        schema = stack.client.read_work_pool(f"ferops-{kind}").base_job_template["variables"]
        assert set(deployment.job_variables) <= set(schema["properties"])
        jsonschema.validate(deployment.job_variables, schema)
        assert "{{" not in deployment.model_dump_json()
    mounted = stack.client.read_deployment_by_name("training/docker")
    assert mounted.job_variables["volumes"] == [f"{stack.clone}:{stack.clone}"]
    assert mounted.pull_steps == [{"prefect.deployments.steps.set_working_directory": {"directory": str(stack.clone)}}]


def configured(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What docker-compose makes of compose.yaml."""
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is missing; Debian and Ubuntu: apt-get install docker-compose")
    shutil.copy(ROOT / "compose.yaml", folder)
    return shell(folder, "docker-compose", "config", check=False, **environment)


def test_docker_compose_accepts_the_file(tmp_path: Path) -> None:
    done = configured(tmp_path, **SECRETS)
    assert done.returncode == 0, done.stderr
    published = [line.strip(" -") for line in done.stdout.splitlines() if line.endswith("/tcp")]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published), "no port is open to other machines"


@pytest.mark.parametrize("missing", SECRETS)
def test_without_a_password_nothing_starts(tmp_path: Path, missing: str) -> None:
    done = configured(tmp_path, **{**SECRETS, missing: ""})
    assert done.returncode != 0
    assert missing in done.stderr
    example = (ROOT / ".env.example").read_text()
    assert f"\n{missing}=\n" in example, "named, without a value"
