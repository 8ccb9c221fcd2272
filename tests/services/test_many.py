"""Many processes at the same time, on the team's server and on a database file: nothing is lost, nothing is doubled."""

from pathlib import Path

import mlflow
import pytest
from services.publishers import PROMOTE, TURNS, all_well, at_once, pipelines, publish_at_once, stored
from services.servers import Team

from ferops.tracking.registry import ledger

pytestmark = pytest.mark.services

MANY = 10
DIGEST = "x-ferops.weights"


@pytest.fixture(params=["server", "database file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store; the database file is not even made."""
    if request.param == "server":
        team: Team = request.getfixturevalue("team")
        return team.mlflow
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_ten_trainings_published_at_once_are_ten_runs_and_ten_versions(uri: str, tmp_path: Path) -> None:
    clones = pipelines(tmp_path, list(range(MANY)))
    publish_at_once(clones, uri)

    runs, versions, models = stored(uri)
    digests = sorted(clone.training["weights_digest"] for clone in clones)
    assert sorted(run.data.tags[DIGEST] for run in runs) == digests
    assert sorted(model.tags[DIGEST] for model in models) == digests
    assert sorted(version.tags[DIGEST] for version in versions) == digests
    assert sorted(int(version.version) for version in versions) == list(range(1, MANY + 1))
    assert {run.info.status for run in runs} == {"FINISHED"}
    number_of = {version.tags[DIGEST]: int(version.version) for version in versions}
    for clone in clones:
        told = {line["weights_digest"]: line["version"] for line in clone.registry() if line["event"] == "registered"}
        assert clone.training["weights_digest"] in told
        assert told.items() <= number_of.items(), "the file in git says what the registry says"
    challenger = mlflow.MlflowClient(uri).get_model_version_by_alias("fer-vgg16", "challenger")
    assert challenger.tags[DIGEST] in digests


def test_one_training_published_ten_times_at_once_is_one_run_and_one_version(uri: str, tmp_path: Path) -> None:
    clones = pipelines(tmp_path, [1] * MANY)
    publish_at_once(clones, uri)

    (run,), (version,), (model,) = stored(uri)
    assert (version.run_id, model.source_run_id, model.status) == (run.info.run_id, run.info.run_id, "READY")
    assert run.info.status == "FINISHED"
    for clone in clones:
        (line,) = clone.registry()
        assert (line["event"], line["version"], line["alias"]) == ("registered", int(version.version), "challenger")


def test_of_many_that_find_the_lock_of_a_dead_process_one_takes_it_over(uri: str, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(5)]
    for folder in folders:
        folder.mkdir()
    all_well([(folder, TURNS.replace("COUNT", "8")) for folder in folders], uri)

    left = mlflow.MlflowClient(uri).search_registered_models()
    assert [model.name.rpartition(".")[0] for model in left] == ["fer.lock.test"], (
        "the last one's, and none of those who took over"
    )


def test_of_promotions_at_once_one_wins_and_each_of_the_others_says_so(uri: str, tmp_path: Path) -> None:
    clones = pipelines(tmp_path, list(range(4)))
    publish_at_once(clones, uri)
    commands = [(clone.root, PROMOTE.replace("REFERENCE", f"'fer-vgg16/{n}'")) for n, clone in enumerate(clones, 1)]
    ended = at_once(commands, uri)

    versions = mlflow.MlflowClient(uri).search_model_versions("name='fer-vgg16'")
    events = sorted((e for version in versions for e in ledger.history(version)), key=lambda event: event["time"])
    promoted = [event for event in events if event["event"] == "promoted"]
    assert len(promoted) == [one.status for one in ended].count(0) >= 1, ended
    assert [event["previous"] for event in promoted] == [None, *(event["version"] for event in promoted[:-1])]
    aliases = mlflow.MlflowClient(uri).get_registered_model("fer-vgg16").aliases
    assert int(aliases["champion"]) == promoted[-1]["version"], "whoever came later knew whom it replaced"
    for one in ended:
        assert one.status == 0 or "under way: process" in one.output or "by now the champion is" in one.output, (
            one.output
        )
