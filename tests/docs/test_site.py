"""The documentation site, and what its pages claim about the code."""

import ast
import asyncio.base_events
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import reduce
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML
from support import ROOT, built_once
from test_architecture import PACKAGES

from ferops import params

DOCS = ROOT / "docs"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "weights/README.md", *DOCS.rglob("*.md")],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, in a folder of its own."""

    def build(folder: Path) -> None:
        built = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
            cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        )  # fmt: skip
        assert built.returncode == 0, built.stderr
        assert "WARNING" not in built.stderr

    return built_once(tmp_path_factory, "site", build)


class Loaded(HTMLParser):
    """The addresses that a page makes the browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "a":
            self.addresses += [value for name, value in attrs if name in ("src", "srcset", "href", "data") and value]


def test_every_page_is_built(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS).with_suffix(".html")).is_file(), page_name(page)


def test_the_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        reader = Loaded()
        reader.feed(page.read_text(encoding="utf-8"))
        assert reader.addresses
        for address in reader.addresses:
            assert not re.match(r"(https?:)?//", address), f"{page.name} loads {address}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_a_script_that_drew_mermaid_would_be_fetched_so_no_page_of_the_site_has_one() -> None:
    for page in DOCS.rglob("*.md"):
        assert "```mermaid" not in page.read_text(encoding="utf-8"), page_name(page)


def prose(page: Path) -> str:
    """Return the text of a page without its code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+).+?\1", "", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_and_pictures_of_a_page_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page_name(page)}: {target}"
        assert not anchor or anchor in anchors(found), f"{page_name(page)}: {target}"


def test_every_parameter_is_described_with_its_default() -> None:
    text = (DOCS / "guide/parameters.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_]+(?:\.[a-z0-9_]+)+)` \| `([^`]*)` \|", text, flags=re.MULTILINE))
    assert len(rows) == text.count("\n| `") - sum(1 for _ in (ROOT / "recipes").glob("*.yaml")), "a key twice"
    written = YAML(typ="safe").load(ROOT / "params.yaml")
    flat = {
        key: reduce(lambda node, part: node[part], key.split("."), written)
        for key in params.flatten(params.load(ROOT / "params.yaml"))
    }
    assert rows == {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in flat.items()}


def test_every_recipe_is_described() -> None:
    text = (DOCS / "guide/parameters.md").read_text(encoding="utf-8").partition("## Recipes")[2]
    assert set(re.findall(r"^\| `([a-z0-9_]+)` \|", text, flags=re.MULTILINE)) == {
        path.stem for path in (ROOT / "recipes").glob("*.yaml")
    }


def library(name: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    assert spec
    assert spec.origin
    return Path(spec.origin).parent


def sentences(*places: Path) -> str:
    """Return the strings of Python files but docstrings, one a line; `{}` stands for a formatted value."""
    found = []
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*.py"):
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
            for node in nodes:
                if isinstance(node, ast.JoinedStr):
                    parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                    found.append(node.value)
    return "\n".join(" ".join(text.split()) for text in found)


def messages() -> Iterator[tuple[str, str]]:
    """Yield section and message of each heading of the page that quotes a message."""
    section = ""
    for line in (DOCS / "guide/troubleshooting.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("### "):
            yield from ((section, message) for message in re.findall(r"`([^`]+)`", line))


PREFECT = ("server/api/server.py", "cli/deploy", "states.py", "server/schemas/states.py")
"""The files of Prefect with the messages that the page quotes."""


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Section of the page -> the messages of its tool."""
    ours = sentences(ROOT / "src", ROOT / "flows")
    steps = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    return {
        "Set-up": (ROOT / "Makefile").read_text(encoding="utf-8"),
        "Parameters": ours,
        "Data": ours,
        "Network and weights": ours,
        "MLflow": ours + "\n" + sentences(Path(asyncio.base_events.__file__)),
        "Registry": ours,
        "DVC": sentences(library("dvc")),
        "Prefect": "\n".join([ours, sentences(*(library("prefect") / part for part in PREFECT)), steps]),
    }


def test_the_page_has_messages_of_every_tool(texts: dict[str, str]) -> None:
    assert {section for section, _ in messages()} == set(texts)


@pytest.mark.parametrize(("section", "message"), list(messages()))
def test_a_message_in_troubleshooting_exists(section: str, message: str, texts: dict[str, str]) -> None:
    pieces = [re.escape(piece.strip()) for piece in message.split("...")]
    assert re.search(".*?".join(pieces), texts[section]), f"no program prints {message!r}"


def labels(picture: Path) -> list[str]:
    return [
        "".join(node.itertext()).strip() for node in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_the_picture_of_the_packages_names_every_package() -> None:
    assert set(PACKAGES) <= set(labels(DOCS / "images/packages.svg"))


def test_the_table_of_the_packages_has_every_package() -> None:
    table = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## The packages")[2]
    rows = "".join(re.findall(r"^(\| `.+?) \|", table, flags=re.MULTILINE))
    assert set(PACKAGES) <= set(re.findall(r"`([a-z]+)/?`", rows))


def test_the_picture_of_the_pipeline_names_every_stage() -> None:
    stages: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    names = {
        f"{name}@{item}" if item else name
        for name, stage in stages.items()
        for item in stage.get("matrix", {}).get("what", [None])
    }
    assert names <= set(labels(DOCS / "images/pipeline.svg"))
    assert names - {"sample"} <= set(labels(DOCS / "images/one-image.svg"))


WRITTEN = {
    "data/raw", "data/gates", "data/augmented", "data/prepared", "models", "metrics", "mlflow.db",
}  # fmt: skip
"""What the stages write, as the picture of one image names it."""


def test_the_picture_of_one_image_names_files_that_exist() -> None:
    named = {
        label for label in labels(DOCS / "images/one-image.svg") if re.fullmatch(r"[a-z0-9_./]+/[a-z0-9_./]*", label)
    }
    files = named - WRITTEN
    assert len(files) > 10
    assert [name for name in sorted(files) if not (ROOT / "src/ferops" / name).exists()] == []


FILES = re.compile(
    r"(?:src|tests|flows|benchmarks|recipes|docs|weights|\.github)/[\w./-]*|[\w./-]+\.(?:py|yaml|toml|cff)"
)
"""Inline code that is a path of the repository."""

NOT_IN_GIT = {
    "weights/mine.keras", "weights/mine.weights.h5", "weights/brought.keras", "weights/brought.keras.json",
    "docs/index.html",
}  # fmt: skip
"""What the pages' commands write."""


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [f"/{path}" for path in listed.stdout.splitlines() if (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_files_that_a_page_names_exist(page: Path, tracked: list[str]) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    words = {word for code in re.findall(r"`([^`\n]+)`", text) for word in code.split()}
    paths = {word for word in words if FILES.fullmatch(word)} - NOT_IN_GIT
    missing = [path for path in sorted(paths) if not any(f"/{path.rstrip('/')}/" in f"{file}/" for file in tracked)]
    assert missing == []
