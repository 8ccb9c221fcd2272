"""The promotion flow over a real SQLite store and a real Prefect server."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from prefect import State
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.states import Cancelled
from registered import BETTER, GOOD, LOST, POOR, WORSE, Clone
from support import MODEL, ROOT

from ferops.orchestration import notifications
from ferops.promotion import gate
from ferops.tracking.registry import ledger


@pytest.fixture
def clone(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clone]:
    """A clone of its own, which is the working directory."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    root = Path(shutil.copytree(shelf, tmp_path / "clone"))
    (root / ".dvc").mkdir()
    monkeypatch.chdir(root)
    before = dict(os.environ)
    yield Clone(root)
    os.environ.clear()  # ferops turns off telemetry for its own process
    os.environ.update(before)


@pytest.fixture
def flow(load: Callable[[str], ModuleType], server: None, clone: Clone, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loaded = load("promotion")
    monkeypatch.setattr(loaded, "POLL", 0.2)
    return loaded


class Run:
    """A run of the flow in a thread of its own."""

    def __init__(self, flow: ModuleType, client: SyncPrefectClient, **parameters: Any) -> None:
        self.client = client
        self.ended: list[State] = []
        self.id = client.create_flow_run(flow.promotion, parameters=parameters).id
        self.thread = threading.Thread(target=lambda: self.ended.append(_run(flow, self.id, parameters)))
        self.thread.start()

    def paused(self, time_limit: float = 60) -> None:
        """Wait until it is paused, as a person would find it."""
        deadline = time.monotonic() + time_limit
        while not (state := self.client.read_flow_run(self.id).state).is_paused():
            assert time.monotonic() < deadline, state
            assert not state.is_final(), state
            time.sleep(0.1)

    def resume(self) -> None:
        self.client.resume_flow_run(self.id)

    def end(self) -> State:
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.client.read_flow_run(self.id).state

    def page(self) -> str:
        return page(self.client, self.id)


def _run(flow: ModuleType, run: UUID, parameters: dict[str, Any]) -> State:
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    with get_client(sync_client=True) as client:
        return run_flow(flow.promotion, client.read_flow_run(run), parameters, return_type="state")


def page(client: SyncPrefectClient, run: UUID) -> str:
    """The newest artifact of a run."""
    found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run])))
    pages = [one for one in found if one.key == "promotion-decision"]
    return str(max(pages, key=lambda one: one.created).data)


def promote(flow: ModuleType, **parameters: Any) -> State:
    return flow.promotion(**parameters, return_state=True)


def test_a_better_challenger_is_promoted_and_the_artifact_says_why(
    flow: ModuleType, clone: Clone, client: SyncPrefectClient
) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)

    state = promote(flow)

    assert (state.type.value, state.name) == ("COMPLETED", "Promoted")
    assert state.message == f"fer-vgg16 version {BETTER} is champion, version {GOOD} `previous`"
    assert clone.aliases() == {"challenger": BETTER, "champion": BETTER, "previous": GOOD}
    assert [event["event"] for event in clone.events()] == ["promoted"]
    shown = page(client, state.state_details.flow_run_id)
    assert "| floors.accuracy | >= 0.5 | 0.7000 | 0.8000 | ok |" in shown
    assert "Accuracy: +0.1000 against the champion, 95% interval +0.0" in shown
    assert "confusion matrix" in shown
    assert "data:image/png;base64,iVBORyA=" in shown
    assert "make ui" in shown


def test_a_refusal_is_a_result_and_not_a_failure(flow: ModuleType, clone: Clone, client: SyncPrefectClient) -> None:
    clone.alias(challenger=POOR, champion=GOOD)

    state = promote(flow)

    assert (state.type.value, state.name) == ("COMPLETED", "Refused")
    assert "accuracy 0.3000 is below 0.5" in state.message
    assert clone.aliases() == {"challenger": POOR, "champion": GOOD}
    assert [event["event"] for event in clone.events()] == ["refused"]
    assert "| floors.accuracy | >= 0.5 | 0.7000 | 0.3000 | no |" in page(client, state.state_details.flow_run_id)


def test_who_is_champion_already_stays_so_and_nothing_is_recorded(flow: ModuleType, clone: Clone) -> None:
    clone.alias(challenger=GOOD, champion=GOOD)

    state = promote(flow, require_approval=True)

    assert (state.type.value, state.name) == ("COMPLETED", "Unchanged")
    assert clone.events() == []


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"model": "fer-vgg16/99"}, "fer-vgg16/99: there is none"),
        ({"model": f"fer-vgg16/{LOST}"}, f"fer-vgg16 version {LOST} has no evaluation/predictions.parquet"),
        ({"notify": "slack-webhook/nobody"}, "notify: Prefect has no block 'slack-webhook/nobody'"),
        ({"notify": "slack"}, "notify: Prefect has no block 'slack'"),
        ({"notify": "secret/word"}, "notify: the block secret/word sends no messages"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_decided(
    flow: ModuleType, clone: Clone, parameters: dict[str, str], says: str
) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)
    Secret(value="hush").save("word", overwrite=True)

    state = promote(flow, **parameters)

    assert state.is_failed()
    assert says in state.message
    assert "\n" not in state.message
    assert clone.aliases() == {"challenger": BETTER, "champion": GOOD}
    assert clone.events() == []


def test_a_deployment_promotes_and_leaves_the_files_of_the_clone_alone(
    flow: ModuleType, clone: Clone, deployed: None
) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)

    promote(flow)

    assert clone.aliases()["champion"] == BETTER
    assert [event["event"] for event in clone.tagged()] == ["promoted"]
    assert not (clone.root / "reports").exists()
    ledger.sync(clone.opened, clone.root / ledger.REGISTRY)
    assert [event["event"] for event in clone.events()] == ["promoted"]


# approval


def test_it_waits_for_a_person_who_sees_the_decision_and_resumes_it(
    flow: ModuleType, clone: Clone, client: SyncPrefectClient
) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)
    run = Run(flow, client, require_approval=True)
    run.paused()

    shown = run.page()
    assert "waits for a person to approve it" in shown
    assert f"prefect api POST /flow_runs/{run.id}/resume" in shown
    assert "| floors.accuracy | >= 0.5 | 0.7000 | 0.8000 | ok |" in shown
    assert clone.aliases() == {"challenger": BETTER, "champion": GOOD}
    run.resume()

    assert run.end().name == "Promoted"
    assert clone.aliases()["champion"] == BETTER
    assert "waits" not in run.page()


def test_what_the_gate_refuses_is_shown_to_nobody_for_approval(flow: ModuleType, clone: Clone) -> None:
    clone.alias(challenger=WORSE, champion=GOOD)

    assert promote(flow, require_approval=True).name == "Refused"


def test_a_cancelled_run_promotes_nothing(flow: ModuleType, clone: Clone, client: SyncPrefectClient) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)
    run = Run(flow, client, require_approval=True, approval_hours=5 / 3600)
    run.paused()

    client.set_flow_run_state(run.id, Cancelled())

    assert run.end().name == "Cancelled"
    assert clone.aliases() == {"challenger": BETTER, "champion": GOOD}
    assert clone.events() == []


def test_an_approval_holds_only_for_what_was_shown(flow: ModuleType, clone: Clone, client: SyncPrefectClient) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)
    run = Run(flow, client, require_approval=True)
    run.paused()
    gate.promote(clone.opened, f"{MODEL}/{WORSE}", instead_of=GOOD, decision={})
    run.resume()

    deadline = time.monotonic() + 30
    while f"champion, version {WORSE}" not in run.page():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    run.paused()
    assert clone.aliases()["champion"] == WORSE
    run.resume()

    assert run.end().name == "Promoted"
    assert clone.aliases() == {"challenger": BETTER, "champion": BETTER, "previous": WORSE}


def test_where_the_new_champion_is_too_good_the_approved_one_is_refused(
    flow: ModuleType, clone: Clone, client: SyncPrefectClient
) -> None:
    clone.alias(challenger=GOOD, champion=WORSE)
    run = Run(flow, client, require_approval=True)
    run.paused()
    gate.promote(clone.opened, f"{MODEL}/{BETTER}", instead_of=WORSE, decision={})
    run.resume()

    assert run.end().name == "Refused"
    assert clone.aliases()["champion"] == BETTER


def test_in_a_terminal_without_a_server_nobody_could_approve(clone: Clone) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "flows/promotion.py", "--require-approval"],
        capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        | {"PREFECT_HOME": str(clone.root / "prefect")},
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "promotion: without a Prefect server nobody can approve; set PREFECT_API_URL (`make server`)\n"
    )


# messages


class Inbox(http.server.ThreadingHTTPServer):
    """A service that takes messages, or answers with an error."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.messages: list[str] = []

    def __enter__(self) -> "Inbox":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        CustomWebhookNotificationBlock(
            name="ops", url=f"http://127.0.0.1:{self.server_port}", json_data={"text": "{{subject}}: {{body}}"}
        ).save("ops", overwrite=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        self.server.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


OPS = "custom-webhook/ops"


def test_promotions_refusals_and_failures_are_told(flow: ModuleType, clone: Clone) -> None:
    clone.alias(champion=GOOD)

    with Inbox() as inbox:
        promote(flow, model=f"fer-vgg16/{WORSE}", notify=OPS)
        promote(flow, model=f"fer-vgg16/{BETTER}", notify=OPS)
        promote(flow, model="fer-vgg16/99", notify=OPS)

    refused, promoted, failed = inbox.messages
    assert refused.startswith(f"ferops: promotion: Refused: fer-vgg16 version {WORSE}: version {GOOD} stays champion")
    assert promoted.startswith(f"ferops: promotion: Promoted: fer-vgg16 version {BETTER} is champion")
    assert failed.startswith("ferops: promotion: Failed: fer-vgg16/99: there is none")
    assert all("/runs/flow-run/" in message for message in inbox.messages)


def test_without_an_approval_in_time_nothing_is_promoted_and_people_hear_of_it(
    flow: ModuleType, clone: Clone, client: SyncPrefectClient
) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)

    with Inbox() as inbox:
        state = Run(flow, client, require_approval=True, approval_hours=2 / 3600, notify=OPS).end()

    assert (state.type.value, state.name) == ("FAILED", "NotApproved")
    assert f"nobody approved fer-vgg16 version {BETTER}" in state.message
    assert clone.aliases() == {"challenger": BETTER, "champion": GOOD}
    assert clone.events() == []
    waits, late = inbox.messages
    assert f"version {BETTER} passes the gate and waits for a person" in waits
    assert "NotApproved: nobody approved" in late


def test_a_message_that_does_not_arrive_is_a_failed_task_and_changes_nothing(
    flow: ModuleType, clone: Clone, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)
    monkeypatch.setattr(notifications.send, "retry_delay_seconds", [0, 0, 0])

    with Inbox(status=503) as inbox:
        state = promote(flow, notify=OPS)

    assert state.name == "Promoted"
    assert clone.aliases()["champion"] == BETTER
    assert len(inbox.messages) == 4
    [sent] = [run for run in _tasks(client, state.state_details.flow_run_id) if run.name.startswith("notify")]
    assert sent.state.is_failed()
    assert sent.state.message == "custom-webhook/ops: answered 503"


def _tasks(client: SyncPrefectClient, run: UUID) -> list[Any]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    deadline = time.monotonic() + 20
    while True:  # the server writes task runs down a moment later
        found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
        if found and all(one.state.is_final() for one in found):
            return found
        assert time.monotonic() < deadline
        time.sleep(0.3)
