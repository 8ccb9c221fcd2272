"""`ferops weights fold`: what a trained vgg16_best learned, as a weights file that the transfers start from."""

from pathlib import Path

from rich.console import Console

from ferops.commands import network_files
from ferops.machine.tensorflow import quiet_imports


def fold(model: Path, out: Path, console: Console) -> None:
    """Fold the batch norms of a trained vgg16_best into its convolutions and save them; say how to start from them.

    Args:
        model: a .keras file, as `train` writes it.
        out: the weights file, which must not exist: a params.yaml may name it.
        console: where digest, size and next step are shown.

    Raises:
        NotWritable: the weights file cannot have this name.
        NotAModel: the model cannot be loaded.
        NotFoldable: it is not vgg16_best.
    """
    network_files.check(model, out, ".weights.h5")
    with quiet_imports():
        from ferops.model import conversion
    base = conversion.fold(network_files.load(model))
    written = network_files.write(out, lambda path: base.save_weights(path, overwrite=True))
    console.print(
        f"written   {written}\n"
        f"next      set model.weights: {out} in params.yaml, and the model.scaling that the network was trained with",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
