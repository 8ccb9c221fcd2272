import io
from pathlib import Path

import mlflow
import pytest
from rich.console import Console
from support import ROOT, Ferops

from ferops.commands.registry.card import card
from ferops.commands.registry.restore import restore


@pytest.fixture
def shown(ferops: Ferops):
    """What `ferops card` prints into a pipe."""

    def show(*words: str) -> str:
        done = ferops("card", *words)
        assert (done.code, done.err) == (0, "")
        return done.out

    return show


def test_the_card_of_a_version_has_its_weights_counts_figures_and_what_is_prohibited(new, shown) -> None:
    text = shown("fer-vgg16@challenger")
    digest, test = new.json("models/training.json")["weights_digest"], new.json("metrics/test.json")
    assert text.startswith("---\nlicense: mit\n")
    assert f"# fer-vgg16/{digest[:12]}\n" in text
    assert f"- weights: `{digest}`" in text
    assert "| angry | 10 | 3 | 3 |" in text
    assert f"| **accuracy**, of seven | {test['accuracy']:.3f} (" in text
    assert f"| binary accuracy | {test['binary_accuracy']:.3f} | {test['binary_accuracy']:.3f} |" in text
    assert "| happy | 0.500 (" in text
    assert "of faces drawn by code and mean nothing for real faces" in text
    for article in ("Art. 5(1)(f)", "Art. 5(1)(g)", "Annex III, 1(c)", "Art. 50(3)"):
        assert article in text
    assert f"`ferops trace fer-vgg16/{digest[:12]}`" in text


def test_whoever_downloads_the_model_has_its_card(new, shown, tmp_path: Path) -> None:
    text = shown("fer-vgg16/1")
    new.store()
    folder = mlflow.artifacts.download_artifacts("models:/fer-vgg16/1", dst_path=str(tmp_path / "model"))
    assert Path(folder, "README.md").read_text() == text


def test_another_evaluation_replaces_the_card_and_restore_brings_it_back(new, shown, console) -> None:
    before = shown("fer-vgg16/1")
    new.repro(evaluate={"calibration_bins": 40})
    assert new.publish() == 1
    after = shown("fer-vgg16/1")
    assert f"| **accuracy**, of seven | {new.json('metrics/test.json')['accuracy']:.3f} (" in after != before
    new.commit("first")
    new.lose_the_store()
    assert restore(console), console.export_text()
    assert shown("fer-vgg16/1") == after


def test_a_version_without_a_card_says_what_adds_it(new, shown, ferops: Ferops) -> None:
    text = shown("fer-vgg16/1")
    (file,) = (new.root / "mlartifacts").rglob("README.md")
    file.unlink()
    done = ferops("card", "fer-vgg16/1")
    assert done.code == 1
    assert done.err.startswith("ferops: fer-vgg16/1 has no model card in MLflow; `dvc repro` on its commit adds it")
    assert done.err.count("\n") == 1
    new.publish()
    assert shown("fer-vgg16/1") == text


@pytest.mark.parametrize("width", [100, 60])
def test_on_a_terminal_the_card_is_laid_out_in_its_width(width: int) -> None:
    console = Console(width=width, force_terminal=True, color_system=None, file=io.StringIO())
    card(None, console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "library_name" not in console.file.getvalue()
    assert not any(line.startswith(("#", "|", "---")) for line in lines)


def test_without_a_name_it_is_the_shipped_network_even_outside_a_repository(
    shown, ferops: Ferops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown() == (ROOT / "weights/lean_cnn.md").read_text()
    done = ferops("card", "fer-vgg16@champion")
    assert done.code == 1
    assert "there is no registry here" in done.err
    assert list(tmp_path.iterdir()) == [], "no store was made"


def test_an_unknown_version_is_one_line(new, ferops: Ferops) -> None:
    done = ferops("card", "fer-vgg16/9")
    assert done.code == 1
    assert done.err.startswith("ferops: fer-vgg16/9: there is none; versions: 1; ")
    assert done.err.count("\n") == 1
