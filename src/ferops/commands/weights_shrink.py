"""`ferops weights shrink`: a trained network in a file of half the size, to be handed on."""

from pathlib import Path

from rich.console import Console

from ferops.commands import network_files
from ferops.machine.tensorflow import quiet_imports


def shrink(model: Path, out: Path, console: Console) -> None:
    """Write a trained network again with its kernels in half precision; say what became of it.

    Args:
        model: a .keras file, as `train` writes it.
        out: the .keras file to write, which must not exist.
        console: where size and digests are shown.

    Raises:
        NotWritable: the file to write cannot have this name.
        NotAModel: the model cannot be loaded.
    """
    network_files.check(model, out, ".keras")
    with quiet_imports():
        from ferops.model import conversion, weights
    before = network_files.load(model)
    written = network_files.write(out, lambda path: conversion.shrink(model, path))
    after = network_files.load(out)
    moved = conversion.greatest_change(before, after)
    console.print(
        f"written   {written}\n"
        f"weights   {weights.digest(before)} before\n"
        f"          {weights.digest(after)} now, no weight changed by more than {moved:.2%} of its kernel's greatest",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
