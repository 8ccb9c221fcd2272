"""MLflow's pages in a browser: what each shows before the first click, in which order, and where it is cut."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.servers import mlflow_server
from support import ROOT
from tracking.conftest import Pipeline, inside

from ferops import params
from ferops.promotion import gate
from ferops.stages.publish import main as publish
from ferops.tracking import record, runs, store
from ferops.tracking.pages import report, saved_view

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium; Debian: apt-get install chromium"),
]

LEAN = {"name": "lean_cnn", "weights": "none", "noise": 0.0, "frozen_blocks": 0}
TAGS = {
    "accuracy": "0.800 (0.700-0.900) test",
    "data": "synthetic sample",
    "split": "official",
    "recipe": "demo",
    "hardware": "a processor",
}
COLUMNS = [
    "Run Name", "Created", "model.name", "data", "acc_val", "acc_test", "f1_test", "parameters", "seconds",
]  # fmt: skip

NO_WELCOME = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("_mlflow_model_registry_promo_modal_dismissed_v1", "true");
"""
"""As after a first visit: MLflow's assistant and its advertisement of the registry were closed."""

READABLE = """element => {
    const nodes = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), range = document.createRange();
    let text = "";
    while (nodes.nextNode()) {
        const node = nodes.currentNode;
        let edge = innerWidth;
        for (let box = node.parentElement; box; box = box.parentElement) {
            const style = getComputedStyle(box);
            if (style.overflowX === "visible" || style.display === "inline") continue;
            const ellipsis = style.textOverflow === "ellipsis" && box.scrollWidth > box.clientWidth ? 14 : 0;
            edge = Math.min(edge, box.getBoundingClientRect().right - ellipsis);
        }
        for (let i = 0; i < node.length; i++) {
            range.setStart(node, i), range.setEnd(node, i + 1);
            if (range.getBoundingClientRect().right <= edge + 1) text += node.data[i];
        }
    }
    return text.replace(/\\s+/g, " ").trim();
}"""
"""The text of an element without the characters that a box around it cuts off."""


def fill(uri: str, root: Path) -> dict[str, str]:
    """Publish trainings of two systems and a sweep with a trial; give the runs' ids by name, and the experiment's."""

    def train(seed: int, accuracy: float, model: dict[str, object], **environment: str) -> None:
        folder = root / f"clone-{seed}"
        folder.mkdir()
        pipeline = Pipeline(folder)
        shutil.copytree(ROOT / "recipes", folder / "recipes")
        with inside(folder):
            os.environ |= {"MLFLOW_TRACKING_URI": uri, **environment}
            params.merge({"model": model})
            pipeline.train(seed)
            pipeline.evaluate(accuracy)
            publish()

    train(0, 0.8, {})
    train(1, 0.6, LEAN)
    with inside(root):
        os.environ["MLFLOW_TRACKING_URI"] = uri
        sweep = runs.begin_sweep("fine", "a key", {"train.learning_rate": [0.1, 0.2]}, "flows/sweep.py")
    train(2, 0.5, LEAN, DVC_EXP_NAME="fine-1", **{record.SWEEP_RUN: sweep.run_id})
    with inside(root):
        os.environ["MLFLOW_TRACKING_URI"] = uri
        runs.end_sweep(sweep.run_id, [], "| best |", 0.5, 0)
        opened = store.connect()
        for model in ("fer-vgg16", "fer-lean-cnn"):
            gate.promote(opened, f"{model}/1", instead_of=None, decision={}, path=None)
        ids = {run.info.run_name: run.info.run_id for run in opened.client.search_runs([opened.experiment_id])}
        return {**ids, "experiment": opened.experiment_id}


class Browser:
    """A new window for each page, on a server that `fill` has filled."""

    def __init__(self, browser: "sync_api.Browser", server: str, ids: dict[str, str]) -> None:
        self.server, self.ids, self._browser = server, ids, browser

    def open(self, address: str, width: int = 1500) -> "sync_api.Page":
        """Open a page as in a new profile, but for the welcomes; the address begins after MLflow's `#`."""
        context = self._browser.new_context(viewport={"width": width, "height": 1000})
        context.set_default_timeout(60_000)
        context.add_init_script(NO_WELCOME)
        page = context.new_page()
        page.goto(f"{self.server}/#{address}")
        return page

    def view(self, width: int = 1500) -> "sync_api.Page":
        """Open the link, and wait for the rows."""
        query = f"workflowType=machine_learning&viewStateShareKey={saved_view.VIEW}"  # as `make ui` prints it
        page = self.open(f"/experiments/{self.ids['experiment']}/runs?{query}", width)
        page.locator(cell("params.`model.name`")).nth(2).wait_for()
        return page

    def run(self, name: str, tab: str = "", width: int = 1500) -> "sync_api.Page":
        run = f"/experiments/{self.ids['experiment']}/runs/{self.ids[name]}"
        return self.open(f"{run}{tab}?workflowType=machine_learning", width)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("ui")
    with mlflow_server(folder) as server, sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Browser(browser, server, fill(server, folder))
        browser.close()


def readable(page: "sync_api.Page", selector: str) -> list[str]:
    """Return what can be read of the elements of a selector, once there is one, row by row from left to right."""
    page.locator(selector).first.wait_for()
    page.wait_for_timeout(500)  # a table is laid out again once its rows are there
    found = [(element.bounding_box(), element.evaluate(READABLE)) for element in page.locator(selector).all()]
    return [text for box, text in sorted(found, key=lambda item: (item[0]["y"], item[0]["x"]))]


def cell(column: str) -> str:
    return f".ag-cell[col-id='{column}']"


TAG = "[data-component-type='tag']:has(> div > span > span[title])"


VGG = "vgg16_transfer sample demo"


def test_the_link_shows_the_columns_in_order_and_cuts_nothing(ui: Browser) -> None:
    page = ui.view()

    assert [name for name in readable(page, ".ag-header-cell") if name][: len(COLUMNS)] == COLUMNS
    assert readable(page, cell("metrics.`acc_val`"))[:3] == ["0.8", "0.6", "0.5"]
    assert readable(page, cell("params.`model.name`"))[:2] == ["vgg16_transfer", "lean_cnn"]
    assert readable(page, cell("tags.`data`"))[0] == "synthetic sample"


def test_a_narrow_window_keeps_the_order_and_scrolls_to_the_rest(ui: Browser) -> None:
    page = ui.view(width=900)

    assert [name for name in readable(page, ".ag-header-cell") if name][:4] == COLUMNS[:4]
    page.locator(".ag-body-horizontal-scroll-viewport").evaluate("bar => bar.scrollLeft = 300")
    assert readable(page, cell("metrics.`acc_val`"))[:3] == ["0.8", "0.6", "0.5"]


@pytest.mark.parametrize("width", [1500, 900])
def test_the_page_of_a_run_shows_its_tags_for_people_first(ui: Browser, width: int) -> None:
    page = ui.run(VGG, width=width)

    assert set(readable(page, TAG)[: len(TAGS)]) == {f"{key}: {value}" for key, value in TAGS.items()}
    assert page.get_by_role("link", name="model card and figures").is_visible(), "the note is rendered"


def test_the_report_and_tables_are_shown_within_the_page(ui: Browser) -> None:
    report_page = ui.run(VGG, f"/artifacts/{report.REPORT}").frame_locator("iframe")
    report_page.get_by_role("heading", name="fer-vgg16").wait_for()


def test_a_comparison_names_the_runs_and_plots_what_differs(ui: Browser) -> None:
    names = [VGG, "fine-1"]
    chosen = ",".join(f'"{ui.ids[name]}"' for name in names)
    page = ui.open(f'/compare-runs?runs=[{chosen}]&experiments=["{ui.ids["experiment"]}"]')

    for name in names:
        page.get_by_text(name, exact=True).first.wait_for()
    page.locator("svg").get_by_text("model.name", exact=True).wait_for()  # an axis of the parallel coordinates
    assert page.get_by_text("acc_val", exact=True).count()


def test_the_models_are_listed_with_their_aliases(ui: Browser) -> None:
    page = ui.open("/models")

    assert readable(page, "[role=cell]:nth-child(1)") == ["fer-lean-cnn", "fer-vgg16"], "no trial, and no lock"
    assert all("@ champion: Version 1" in text for text in readable(page, "[role=cell]:nth-child(3)"))


def test_the_table_of_versions_shows_what_the_tags_mean(ui: Browser) -> None:
    page = ui.open("/models/fer-vgg16")

    shown = readable(page, f"[role=row] {TAG}")[: len(TAGS)]
    assert set(shown) == {f"{key}: {value}" for key, value in TAGS.items()}
    assert page.get_by_text("Accuracy 0.800 on validation,"[:29]).is_visible()  # MLflow shows 29 characters of the text


@pytest.mark.parametrize("width", [1500, 900])
def test_the_page_of_a_version_cuts_no_tag_for_people(ui: Browser, width: int) -> None:
    page = ui.open("/models/fer-vgg16/versions/1", width)

    page.get_by_role("link", name="model card and figures").wait_for()  # the description is rendered
    names = readable(page, "tr[data-row-key] td:nth-child(1)")
    values = readable(page, "tr[data-row-key] td:nth-child(2)")
    assert dict(list(zip(names, values, strict=True))[: len(TAGS)]) == dict(sorted(TAGS.items()))
