"""Every command in README, CONTRIBUTING and the guide is run, page by page, in the order of the page.

A page runs as one shell script in a copy of the reproduced pipeline, with a home folder of its own; pages that change
nothing there share a copy. What cannot run as written is in INSTEAD, with the reason; a placeholder that the reader
fills in is in FILLED_IN; what prints the same on every page is in ONCE and runs on the first page that has it.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest
from matplotlib import cbook
from support import ROOT, shell

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs/guide").glob("*.md"))]
PROGRAMS = ("dvc", "ferops", "make", "mlflow", "python", "git")
"""Inline code that begins with one of these is a command."""

NO_SETUP = "make -o .venv/.synced"
"""make, with the set-up skipped: it is done where tests run."""

GIVEN = "import numpy as np; faces = np.zeros((2, 48, 48), np.uint8)"
"""What the Python blocks of the pages assume."""

FILLED_IN = {
    # a repository with a finished pipeline and its environment, so that nothing is trained or installed again
    "git clone ADDRESS ferops": 'cp -a "$RAN" ferops && cp -a .venv ferops',
    # the second clone of the page comes from the first, as it would from a server
    "git clone ADDRESS elsewhere": "git clone --quiet . elsewhere",
}


class Instead(NamedTuple):
    """The command that is run in place of another, if any, and the reason."""

    command: str | None
    reason: str


PHOTOGRAPH = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
CLIP = """python -c "
import cv2; picture = cv2.imread('photo.jpg')
writer = cv2.VideoWriter('clip.mp4', cv2.VideoWriter.fourcc(*'mp4v'), 25, picture.shape[1::-1])
[writer.write(picture) for _ in range(10)]; writer.release()" """
STARTED_THERE = "tests/services/servers.py starts it, on loopback"
NEEDS_TRAINING = "the recipe trains for minutes or hours: what comes before the training is run"
REFUSED = "two epochs on 140 faces stay below the floors: refused, exit status 1"
SERVES = "serves until it is ended: tests/predict/test_server.py starts it"
NO_CHAMPION = "there has been no champion"
COMPARES = "trains many networks: tests/flows/test_comparison.py runs this flow"
TYPED = "tests/services/test_prefect.py types it, with a real server and worker"
BUILDS = "tests/services/test_image.py builds both"
DEPLOYED = "tests/services/test_compose.py types it, on a real server"
NO_DOCKER = "no Docker daemon; the page says so"
INSTEAD = {
    "make setup": Instead(f"{NO_SETUP} setup", "installs for minutes; it is what this environment came from"),
    "make demo": Instead(f"{NO_SETUP} demo", "without the set-up"),
    "make test": Instead(f"{NO_SETUP} --dry-run test", "these tests"),
    "make lint": Instead(f"{NO_SETUP} --dry-run lint", "a check of its own, on the checkout"),
    "make bench": Instead(f"{NO_SETUP} --dry-run bench", "takes twenty minutes"),
    "make lock": Instead(f"{NO_SETUP} --dry-run lock", "resolves from a package index"),
    "make fuzz": Instead(f"{NO_SETUP} --dry-run fuzz", "takes minutes"),
    "make test-services": Instead(f"{NO_SETUP} --dry-run test-services", "takes minutes"),
    'pip install -e ".[team]"': Instead(None, "installs from a package index"),
    "sudo apt-get install postgresql": Instead(None, "installs from Debian"),
    "sudo -u postgres createuser --pwprompt mlflow": Instead(None, STARTED_THERE),
    "sudo -u postgres createdb --owner mlflow mlflow": Instead(None, STARTED_THERE),
    "mlflow server": Instead(None, "names a command, without its arguments"),
    "mlflow server --artifacts-destination s3://ferops-mlflow --host 127.0.0.1 --port 5000 --workers 2": Instead(
        None, STARTED_THERE
    ),
    "export MLFLOW_TRACKING_URI=https://mlflow.example.org": Instead(
        "export MLFLOW_TRACKING_URI=sqlite:///team.db", "an empty database file stands for an empty server"
    ),
    "ferops data use ~/RAF-DB/DATASET --labels surprise,fear,disgust,happy,sad,angry,neutral": Instead(
        None, "tests/pipeline/test_brought.py types it, on faces laid out as RAF-DB"
    ),
    "ferops data use ~/AffectNet --skip contempt,unknown": Instead(
        None, "tests/pipeline/test_brought.py types it, on folders with contempt"
    ),
    "dvc queue start": Instead(None, "works in the background, after the page's end; --run-all runs the same queue"),
    "make server": Instead(None, "serves until it is ended: tests/services/deployed.py starts it"),
    "prefect work-pool create ferops --type process": Instead(None, TYPED),
    "prefect work-pool create ferops --type process && prefect --no-prompt deploy --all": Instead(None, TYPED),
    "prefect worker start --pool ferops": Instead(None, TYPED),
    "prefect deployment run 'training/nightly' -p recipe=demo": Instead(None, TYPED),
    "prefect deployment run 'training/nightly' -p overrides='{\"train.epochs\": 3}' --watch": Instead(None, TYPED),
    "prefect deployment schedule ls training/nightly": Instead(None, TYPED),
    "prefect deployment schedule resume training/nightly SCHEDULE": Instead(None, TYPED),
    "prefect deployment schedule pause training/nightly SCHEDULE": Instead(None, TYPED),
    "prefect server start --host 127.0.0.1": Instead(None, "`make server` without its proxy"),
    "ferops predict photo.jpg": Instead(
        f'mkdir -p photos && cp "{PHOTOGRAPH}" photo.jpg && cp photo.jpg photos/ && ferops predict photo.jpg',
        "a photograph that Matplotlib brings along",
    ),
    "ferops predict clip.mp4 --every 5 --save annotated.mp4": Instead(
        f"{CLIP} && ferops predict clip.mp4 --every 5 --save annotated.mp4 && test -s annotated.mp4",
        "a video of the photograph",
    ),
    "ferops predict clip.mp4": Instead(f"{CLIP} && ferops predict clip.mp4", "the same"),
    "ferops predict --camera 0": Instead(
        "ferops predict --camera 0 2>&1 | grep 'gives no picture'", "no camera; tests/predict/test_video.py plays one"
    ),
    "make image": Instead(f"{NO_SETUP} --dry-run BUILD=build image", BUILDS),
    "make base-image": Instead(f"{NO_SETUP} --dry-run BUILD=build base-image", BUILDS),
    "make image BASE=localhost/ferops-base": Instead(None, BUILDS),
    "sudo apt-get install buildah mmdebstrap": Instead(None, "installs from Debian"),
    'docker run --init --rm -v "$PWD":/srv/ferops -w /srv/ferops ferops dvc repro': Instead(None, NO_DOCKER),
    'docker run --init --rm -v "$PWD":/srv/ferops -w /srv/ferops ferops ferops predict photo.jpg': Instead(
        None, NO_DOCKER
    ),
    "docker run --init --rm -p 127.0.0.1:8000:8000 -e FEROPS_TOKEN=secret ferops ferops serve --host 0.0.0.0": (
        Instead(None, NO_DOCKER)
    ),
    "docker compose up --detach --wait": Instead(None, NO_DOCKER),
    "docker compose exec worker prefect --no-prompt deploy --all": Instead(None, NO_DOCKER),
    "prefect work-pool create ferops-docker --type docker": Instead(None, DEPLOYED),
    "prefect work-pool create ferops-kubernetes --type kubernetes": Instead(None, DEPLOYED),
    "prefect --no-prompt deploy --all --prefect-file prefect.docker.yaml": Instead(None, DEPLOYED),
    "prefect worker start --pool ferops-docker": Instead(None, NO_DOCKER),
    "dvc exp apply NAME": Instead(None, "the name is that of a run; docs/guide/experiments.md applies one"),
    "make docs": Instead(None, "tests/docs/test_site.py builds the site"),
    "make ui": Instead(None, "serves until it is ended: test_make_ui_answers_and_shows_the_runs"),
    "ferops promote": Instead("ferops promote | grep refused", REFUSED),
    "ferops promote fer-vgg16/3": Instead(
        "ferops promote fer-lean-cnn/1 | grep refused", f"the number is an example; {REFUSED}"
    ),
    "ferops promote chosen": Instead("ferops promote chosen | grep refused", REFUSED),
    "ferops promote fer-lean-cnn@challenger --against fer-vgg16@champion": Instead(
        None, "there is one registered model here: tests/commands/test_promote.py compares two"
    ),
    "ferops rollback": Instead("ferops rollback 2>&1 | grep 'no champion'", "there has been no champion: it says so"),
    "ferops trace fer-vgg16@champion": Instead("ferops trace fer-lean-cnn@challenger", NO_CHAMPION),
    "ferops card fer-vgg16@champion": Instead("ferops card fer-lean-cnn@challenger", NO_CHAMPION),
    "ferops trace --json > lineage.json": Instead(
        "ferops trace fer-lean-cnn@challenger --json > lineage.json", NO_CHAMPION
    ),
    "ferops trace fer-vgg16@champion --verify": Instead(
        None, "trains again: tests/lineage/test_rebuild.py runs it, with the tests of the servers"
    ),
    "ferops serve": Instead(None, SERVES),
    "ferops serve --model fer-vgg16@champion": Instead(None, SERVES),
    "curl -F pictures=@photo.jpg -F pictures=@other.jpg http://127.0.0.1:8000/predict": Instead(
        None, "no server runs here: tests/predict/test_server.py posts such forms"
    ),
    "FEROPS_TOKEN=secret ferops serve --host 0.0.0.0 --port 8080": Instead(None, SERVES),
    "mlflow models serve --env-manager local --model-uri models:/fer-vgg16@champion --port 5001": Instead(
        None, "serves until it is ended: benchmarks/serving.py starts it"
    ),
    "ferops predict": Instead("ferops predict --help", "named in a sentence, without its arguments"),
    "ferops predict photo.jpg --model fer-vgg16@champion": Instead(
        "ferops predict photo.jpg --model fer-lean-cnn@challenger", NO_CHAMPION
    ),
    "ferops data use": Instead("ferops data use --help", "named in a sentence, without its arguments"),
    "dvc exp run -S": Instead(None, "names a command, without its arguments"),
    "mlflow models serve": Instead(None, "names a command, without its arguments; the sentence is about its input"),
    "python flows/sweep.py --over train.learning_rate=0.0001,0.0003 --over model.dropout=0.2,0.4": Instead(
        "python flows/sweep.py --help", "trains four networks: tests/flows/test_sweep.py runs this flow"
    ),
    "python flows/sweep.py --over 'train.learning_rate=1e-5..1e-3 log' --trials 20 --prune": Instead(
        None, "trains twenty networks: tests/flows/test_sweep.py prunes"
    ),
    "python flows/sweep.py --over train.learning_rate=0.0001,0.0003 --over model.dropout=0.2,0.4 --dask 2": Instead(
        None, "the same: tests/services/test_dask.py runs it"
    ),
    "make table3 EPOCHS=1 SUBSET=mini": Instead(f"{NO_SETUP} --dry-run table3 EPOCHS=1 SUBSET=mini", COMPARES),
    "make ablations MINUTES=30": Instead(f"{NO_SETUP} --dry-run ablations MINUTES=30", COMPARES),
    "python flows/training.py": Instead(None, "starts a Prefect server: tests/flows/test_training.py runs this flow"),
    "python flows/promotion.py --model fer-vgg16/3": Instead(
        "python flows/promotion.py --help", "starts a Prefect server: tests/flows/test_promotion.py runs this flow"
    ),
    "python flows/scoring.py ~/faces": Instead(
        "python flows/scoring.py --help", "there is no champion: tests/flows/test_scoring.py runs this flow"
    ),
    "python flows/scoring.py ~/faces --dask 8": Instead(None, "the same: tests/flows/test_scoring.py runs it"),
    "python benchmarks/faces_in_pictures.py": Instead(None, "takes minutes, on FER2013"),
    "python benchmarks/drift_power.py": Instead(None, "takes a minute, and its figures are not of this network"),
    "python flows/monitoring.py": Instead(
        "python flows/monitoring.py --help", "there is no champion: tests/flows/test_monitoring.py runs this flow"
    ),
    "KERAS_BACKEND=jax dvc repro": Instead(None, "jax is not in this environment"),
    "KERAS_BACKEND=jax PYTHONPATH=src python -m ferops.stages train": Instead(None, "the same"),
    "KERAS_BACKEND=jax PYTHONPATH=src python benchmarks/accelerator.py": Instead(None, "the same"),
    "KERAS_BACKEND=torch PYTHONPATH=src python benchmarks/accelerator.py": Instead(None, "nor is torch"),
    "XLA_FLAGS=--xla_force_host_platform_device_count=4 PJRT_NPROC=16 KERAS_BACKEND=jax "
    "JAX_CPU_ENABLE_ASYNC_DISPATCH=false python -m ferops.stages train": Instead(
        None, "nor jax: tests/services/test_accelerators.py trains so"
    ),
    "make ablations": Instead(f"{NO_SETUP} --dry-run ablations", COMPARES),
    "ferops data suspects --folds 3": Instead(
        "ferops data suspects --help", "trains three networks; tests/pipeline/test_suspects.py trains two"
    ),
    "ferops data extra ~/Downloads/CK+48 --skip contempt": Instead(
        "ferops data extra --help", "CK+ is not here; tests/pipeline/test_extra.py runs it with synthetic faces"
    ),
    "dvc repro --force train": Instead("dvc repro --force --dry train", "trains"),
    "dvc exp run -S train.epochs=12": Instead(None, "trains for minutes; docs/guide/experiments.md runs one epoch"),
}
INSTEAD_ON = {
    ("README.md", "ferops data use ~/Downloads/fer2013.csv --recipe paper && dvc repro"): Instead(
        None, "docs/guide/real-data.md runs both"
    ),
    ("docs/guide/promotion.md", "ferops promote low-rate"): Instead(
        None, "the name is an example; docs/guide/experiments.md nominates one"
    ),
    ("README.md", "ferops promote"): Instead(
        "ferops promote fer-lean-cnn@challenger | grep refused", "the page has switched to the demo's VGG before"
    ),
    ("README.md", "ferops rollback"): Instead(
        "ferops rollback fer-lean-cnn 2>&1 | grep 'no champion'", "there has been no champion: it says so"
    ),
    ("docs/guide/mlflow-ui.md", "dvc repro"): Instead(
        None, "docs/guide/first-run.md runs it, with everything up to date"
    ),
    ("docs/guide/prefect.md", "dvc repro"): Instead(None, "the same"),
    ("docs/guide/troubleshooting.md", "git checkout -- reports/registry.jsonl"): Instead(
        "git add reports/registry.jsonl && git checkout -- reports/registry.jsonl", "here it is not in git yet"
    ),
    ("docs/guide/troubleshooting.md", "git init && git add --all && git commit --message start"): Instead(
        None, "the clone here is a repository already; tests/machine/test_setups.py types it"
    ),
    ("docs/guide/troubleshooting.md", "ferops trace"): Instead("ferops trace --help", "named in a sentence"),
    ("docs/guide/troubleshooting.md", "ferops trace --verify"): Instead("ferops trace --help", "named in a sentence"),
    ("README.md", "dvc repro"): Instead(
        None, "`make demo` of this page runs it; here the recipe would train for minutes"
    ),
    ("docs/guide/team.md", "dvc repro"): Instead(None, "so that the page's restore finds an empty store"),
    ("docs/guide/team.md", "dvc push"): Instead(None, "to a server; tests/services/test_team.py pushes to one"),
    ("docs/guide/team.md", "dvc pull"): Instead(None, "the same"),
    ("docs/guide/real-data.md", "dvc remove --outs data/extra/ckplus.dvc"): Instead(
        None, "there is no such set here; tests/pipeline/test_extra.py types it"
    ),
    ("docs/guide/real-data.md", "dvc repro"): Instead("dvc repro validate@augmented", NEEDS_TRAINING),
}
"""The same for one page."""

ONCE = {
    *(f"{NO_SETUP} {target}" for target in ("setup", "demo")),
    *(f"{NO_SETUP} --dry-run {target}" for target in ("test", "test-services", "table3 EPOCHS=1 SUBSET=mini")),
    "dvc dag",
    "dvc status",
    "dvc exp show",
    'dvc exp show --only-changed --drop "per_class|macro|micro|src"',
    "ferops results",
    "ferops summary",
    "ferops promote | grep refused",
    "ferops promote fer-lean-cnn/1 | grep refused",
    "ferops rollback 2>&1 | grep 'no champion'",
    "ferops trace fer-lean-cnn@challenger",
}
"""Commands that change nothing, each run by the first page that has it."""

SHARING = [
    "CONTRIBUTING.md",
    *(f"docs/guide/{name}.md" for name in ("comparison", "mlflow-ui", "monitoring", "parameters", "prefect", "sweeps")),
]
"""Pages that leave the reproduced pipeline as it was: they run one after the other in one copy of it."""


class Command(NamedTuple):
    """A command of a page: its line, its text, and whether it is in a block or in a sentence."""

    line: int
    text: str
    in_block: bool


def collect(text: str) -> list[Command]:
    """Commands of a Markdown page: lines of shell blocks, fenced (sh) or indented, Python blocks, inline code."""
    found, prose = [], []
    fence: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        prose.append("")
        if fence is None and line.startswith("```"):
            fence, block = line.removeprefix("```").strip(), []
        elif line.startswith("```"):
            if fence == "python":
                script = "\n".join([GIVEN, *block])
                found.append(Command(number, f"python -c {shlex.quote(script)}", in_block=True))
            fence = None
        elif fence == "sh" or (fence is None and line.startswith("    ")):
            if command := re.sub(r"\s+# .*$", "", line).strip():
                found.append(Command(number, command, in_block=True))
        elif fence is not None:
            block.append(line)
        elif not line.startswith("#"):
            prose[-1] = line
    sentences = "\n".join(prose)
    for code in re.finditer(r"(?<!`)`([^`]+)`(?!`)", sentences):
        words = code[1].split()
        if words[0] in PROGRAMS and len(words) > 1:
            number = sentences.count("\n", 0, code.start()) + 1
            found.append(Command(number, " ".join(words), in_block=False))
    return sorted(found, key=lambda command: command.line)


def planned(page: str, commands: list[Command]) -> list[Command]:
    """The commands to run of a page, each once; one named in a sentence is left to the block that runs it."""
    blocks = [command.text for command in commands if command.in_block]
    plan: dict[str, Command] = {}
    for command in commands:
        text = command.text
        if not command.in_block and any(f"{block} ".startswith(f"{text} ") for block in blocks):
            continue
        instead = INSTEAD_ON.get((page, text)) or INSTEAD.get(text)
        runs = instead.command if instead else FILLED_IN.get(text, text)
        runs = runs and runs.replace("fer-vgg16", "fer-lean-cnn")  # the pipeline that the tests share trains lean_cnn
        if runs:
            plan.setdefault(runs, command._replace(text=runs))
    return list(plan.values())


def plans() -> dict[str, list[Command]]:
    """Page -> the commands to run; one in ONCE only on the first page that has it."""
    found: dict[str, list[Command]] = {}
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        before = {command.text for plan in found.values() for command in plan} & ONCE
        commands = planned(name, collect(page.read_text(encoding="utf-8")))
        found[name] = [command for command in commands if command.text not in before]
    return found


PLANS = plans()


def prepare(repro: Path, parent: Path) -> Path:
    """A copy of the reproduced pipeline, its environment where `make setup` puts it, and a home with a download."""

    def copy(source: str, target: str) -> None:
        # nothing is written into a file of the cache: a second name is as good as a copy of many megabytes
        (os.link if "/.dvc/cache/" in source else shutil.copy2)(source, target)

    folder = Path(shutil.copytree(repro, parent / "copy", symlinks=True, copy_function=copy))
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        (folder / ".venv" / part.name).symlink_to(part)
    # a target of make that was forgotten in INSTEAD must not set up again: it would point this environment elsewhere
    (folder / ".venv/.synced").unlink(missing_ok=True)
    (folder / ".venv/.synced").touch()
    downloads = parent / "home/Downloads"
    downloads.mkdir(parents=True)
    shutil.copy(repro / "data/sample/fer2013.csv", downloads)
    return folder


@pytest.fixture
def place(repro: Path, tmp_path: Path) -> Path:
    return prepare(repro, tmp_path)


@pytest.fixture(scope="module")
def shared_place(repro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(repro, tmp_path_factory.mktemp("shared"))


def run(page: str, place: Path, repro: Path) -> None:
    """Run the commands of a page in one shell, which stops at the first that fails."""
    lines = [
        f"echo {shlex.quote(f':: {page}:{command.line}: {command.text}')}; {command.text} || exit"
        for command in PLANS[page]
    ]
    done = shell(
        place, "bash", "-c", "\n".join(lines), check=False,
        HOME=str(place.parent / "home"), RAN=str(repro), MLFLOW_TRACKING_URI="sqlite:///mlflow.db",
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("page", [page for page in PLANS if page not in SHARING])
def test_the_commands_of_a_page_run(page: str, place: Path, repro: Path) -> None:
    run(page, place, repro)


@pytest.mark.parametrize("page", SHARING)
def test_the_commands_of_a_page_that_changes_nothing_run(page: str, shared_place: Path, repro: Path) -> None:
    run(page, shared_place, repro)


def test_every_command_that_runs_once_is_on_some_page() -> None:
    run = [command.text for plan in PLANS.values() for command in plan]
    assert {text: run.count(text) for text in ONCE} == dict.fromkeys(ONCE, 1)


def test_the_tables_hold_no_command_that_is_on_no_page() -> None:
    written = {
        (page.relative_to(ROOT).as_posix(), command.text)
        for page in PAGES
        for command in collect(page.read_text(encoding="utf-8"))
    }
    assert set(FILLED_IN) | set(INSTEAD) <= {text for _, text in written}
    assert set(INSTEAD_ON) <= written


def test_make_ui_answers_and_shows_the_runs(place: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = place.parent / "ui.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            shlex.split(f"{NO_SETUP} ui"), cwd=place, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "MLFLOW_PORT": str(port)},
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        assert _answer(address, server) == 200, log.read_text()
        request = urllib.request.Request(
            f"{address}/api/2.0/mlflow/runs/search",
            data=json.dumps({"experiment_ids": ["1"]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            runs = json.load(answer)["runs"]
        assert [run["info"]["status"] for run in runs] == ["FINISHED"]
        assert "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning" in log.read_text()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def _answer(address: str, server: subprocess.Popen[bytes]) -> int:
    """Return the status of the first answer within 150 s; 0 where the server ended before."""
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return int(answer.status)
        except OSError:
            time.sleep(0.5)
    return 0
