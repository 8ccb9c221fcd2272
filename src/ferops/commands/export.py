"""`ferops export`: a trained network for LiteRT, ONNX or TensorFlow, checked against Keras on the validation split."""

from pathlib import Path

from rich.console import Console

from ferops import params
from ferops.data import prepared
from ferops.machine.files import replacing
from ferops.machine.tensorflow import quiet_imports
from ferops.model.serving.batches import in_batches
from ferops.model.serving.exported import NotExported, card_file


def export(model: Path, out: Path, console: Console, *, int8: bool = False) -> None:
    """Export a trained network behind its median filter, with a card of its figures on the validation split.

    Args:
        model: a .keras file, as `train` writes it from data/prepared as it is now.
        out: what to write, which must not exist: NAME.tflite, NAME.onnx, or NAME, the folder of a SavedModel. Its card
            is NAME.json beside it.
        console: where the figures are shown.
        int8: convolutions in 8-bit integers, for NAME.tflite.

    Raises:
        WeightsUnfit: the model cannot be loaded, or is no network from faces to the seven probabilities.
        NotExported: the output cannot have this name, or the exported network differs from the Keras model.
        MissingPackage: its format needs a package that is not installed.
        BadPrepared: data/prepared is missing: `dvc repro preprocess` makes it.
        BadParams: of params.yaml, which has the threshold of uncertain answers.
    """
    if out.suffix not in (".tflite", ".onnx", ""):
        raise NotExported(f"{out}: expected NAME.tflite, NAME.onnx, or NAME for the folder of a SavedModel")
    if int8 and out.suffix != ".tflite":
        raise NotExported(f"{out}: 8-bit integers are for NAME.tflite")
    if existing := next((file for file in (out, card_file(out)) if file.exists()), None):
        raise NotExported(f"{existing} exists and is kept; remove it, or give another name")
    if not model.is_file():
        raise NotExported(f"{model} does not exist; `dvc repro` writes models/core.keras")
    uncertain_below, data = params.load().evaluate.uncertain_below, prepared.load(Path("data/prepared"))
    faces, labels = data.split("validation")
    if len(faces) == 0:
        raise NotExported("data/prepared has no validation split to compare the networks on")
    with quiet_imports():
        from ferops.model import calibration, weights
        from ferops.model.networks import descriptors
        from ferops.model.serving import exported
    core = weights.core(weights.load_network(model))
    if not descriptors.is_served(core):
        raise NotExported(f"{model}: {core.name} does not take faces alone; it cannot be exported")
    status = console.status("exporting, and comparing with the Keras model")
    with status, replacing(out) as scratch, replacing(card_file(out)):  # the latter's name is `card_file(scratch)`
        probabilities = in_batches(core.predict_on_batch, faces)
        card = exported.export(
            core, faces, labels, probabilities, scratch,
            temperature=calibration.fit_temperature(labels, probabilities), report=data.report,
            uncertain_below=uncertain_below, int8=data.split("train")[0] if int8 else None,
        )  # fmt: skip
    console.out(
        f"written    {out} and its card {card_file(out)}\n"
        f"agreement  {card.agreement:.2%} of {card.n:,} faces of {card.split}, probabilities to "
        f"{card.largest_difference:.0e}\n"
        f"accuracy   {card.accuracy:.3f}; uncertain below {card.uncertain_below:.2f}: the other {card.coverage:.0%} "
        f"are right in {card.accuracy_certain:.0%}; temperature {card.temperature:.2f}",
        highlight=False,
    )
