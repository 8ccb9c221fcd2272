"""`ferops`: the commands beside `dvc repro`."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from ferops.errors import FeropsError, describe_os_error
from ferops.machine.environment import settle

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Facial-expression recognition on FER2013: a reproducible pipeline with DVC, MLflow and Prefect.",
    epilog="Examples:  ferops data use ~/Downloads/fer2013.csv --recipe paper  |  dvc repro  |  ferops promote",
)
data_app = typer.Typer(no_args_is_help=True, help="Choose the data of the pipeline.")
app.add_typer(data_app, name="data")
weights_app = typer.Typer(no_args_is_help=True, help="Make weights files that a network starts from.")
app.add_typer(weights_app, name="weights")

_VERSION: Final = "fer-vgg16@ALIAS, fer-vgg16/NUMBER or fer-vgg16/DIGEST"
_Network = Annotated[Path, typer.Argument(help="A trained network: a .keras file.")]
_Answers = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help=f"{_VERSION}; a .tflite or .keras file; by default the shipped network."),
]
_Detector = Annotated[str, typer.Option(help="blazeface, mtcnn, haar; none: each picture is a face.")]
_Skip = Annotated[str, typer.Option(metavar="CLASS,...", help="Leave these classes out, as contempt.")]
_File = Annotated[Path, typer.Argument(help="The file to write, named as in the example. One that exists is kept.")]


@data_app.command(
    "use",
    epilog="Examples:  ferops data use ~/fer2013.csv.xz  |  ferops data use ~/archive.zip --recipe paper  |  "
    "ferops data use ~/RAF-DB --labels surprise,fear,disgust,happy,sad,angry,neutral",
)
def data_use(
    path: Annotated[
        Path,
        typer.Argument(help="CSV (fer2013, icml_face_data, train), image folders or Parquet; plain or in an archive."),
    ],
    recipe: Annotated[str | None, typer.Option(help="Also merge recipes/NAME.yaml into params.yaml.")] = None,
    labels: Annotated[
        str, typer.Option(metavar="NAME,...", help="Names of numbered classes, in ascending order of the numbers.")
    ] = "",
    skip: _Skip = "",
) -> None:
    """Point the pipeline at a copy of FER2013 or other faces: read through, tracked by DVC. Bad data change nothing."""
    from ferops.commands.data_sets import use

    use(path, recipe, Console(), labels=labels, skip=skip)


@data_app.command(
    "extra", epilog="Examples:  ferops data extra ~/CK+48 --skip contempt  |  ferops data extra ~/Downloads/jaffe.zip"
)
def data_extra(
    path: Annotated[Path, typer.Argument(help="CK+48 or JAFFE: a folder, or a .zip or .tar of it.")],
    skip: _Skip = "",
) -> None:
    """Add a test set, CK+ or JAFFE, that `evaluate` scores and nothing trains on. Bad data change nothing."""
    from ferops.commands.data_sets import add

    add(path, skip, Console())


@data_app.command("show", epilog="Example:  ferops data show")
def data_show() -> None:
    """Show the data set in use: what it is, its counts, and a picture with examples of each expression."""
    from ferops.commands.data_sets import show

    show(Console())


@data_app.command("suspects", epilog="Example:  ferops data suspects --folds 3")
def data_suspects(
    folds: Annotated[int, typer.Option(min=2, max=10, help="Networks to train, each without one fold.")] = 5,
) -> None:
    """List training labels in doubt: networks of params.yaml judge images that they never saw."""
    from ferops.commands.suspects import find

    find(folds, Console())


@weights_app.command("shrink", epilog="Example:  ferops weights shrink models/core.keras weights/mine.keras")
def weights_shrink(model: _Network, out: _File) -> None:
    """Write a trained network into a file of half the size, kernels in half precision, to hand it on."""
    from ferops.commands.weights_files import shrink

    shrink(model, out, Console())


@weights_app.command(
    "import",
    epilog='Example:  ferops weights import best.keras weights/best.keras --trained-by "9 minutes on an H200" '
    "--script train.py",
)
def weights_import(
    model: _Network,
    out: _File,
    trained_by: Annotated[str, typer.Option(metavar="TEXT", help="How, how long and on which hardware.")],
    script: Annotated[Path | None, typer.Option(metavar="FILE", help="What trained it; its digest is kept.")] = None,
) -> None:
    """Bring a network that was trained elsewhere, with a record; measured on the validation images of data/prepared."""
    from ferops.commands.weights_files import bring

    bring(model, out, trained_by, script, Console())


@app.command(
    epilog="Examples:  ferops predict photo.jpg  |  ferops predict photos/ --csv faces.csv --save annotated  |  "
    "ferops predict clip.mp4 --save annotated.mp4  |  ferops predict --camera 0",
)
def predict(
    pictures: Annotated[
        list[str] | None, typer.Argument(help="Pictures, videos, folders, patterns, or - for standard input.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each picture or frame.")] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a CSV with a row for each face.")] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|FILE", help="Save annotated copies here; of one, as NAME.png, .jpg, .mp4 or .webm."
        ),
    ] = None,
    every: Annotated[
        int | None, typer.Option(min=1, help="Recognise every so many frames of a video; by default about 5 a second.")
    ] = None,
    camera: Annotated[int | None, typer.Option(min=0, max=99, help="Watch this camera, until Ctrl-C.")] = None,
    model: _Answers = None,
    detector: _Detector = "blazeface",
    tta: Annotated[bool, typer.Option("--tta", help="Average over each face and its mirror image.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show by Grad-CAM what speaks for each answer, in --save and --json.")
    ] = False,
) -> None:
    """Find the faces in pictures and videos and their expressions. Exit status 3: some could not be read."""
    if camera is not None:
        from ferops.commands.camera import OnlyCamera, watch

        if pictures or csv or save or every or explain:
            raise OnlyCamera("`--camera` goes with --json, --model, --detector and --tta, without pictures")
        watch(camera, Console(), as_json=as_json, model=model, detector=detector, tta=tta)
        return
    from ferops.commands.predict import predict

    raise typer.Exit(
        predict(
            pictures or [],
            Console(),
            as_json=as_json,
            table=csv,
            save=save,
            every=every,
            model=model,
            detector=detector,
            tta=tta,
            explain=explain,
        )
    )


@app.command(epilog="Examples:  ferops serve  |  FEROPS_TOKEN=secret ferops serve --host 0.0.0.0 --port 8080")
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    model: _Answers = None,
    detector: _Detector = "blazeface",
) -> None:
    """Serve an API and a page that recognise expressions in pictures. FEROPS_TOKEN, if set, must be sent to it."""
    from ferops.commands.serve import serve

    serve(Console(), host=host, port=port, model=model, detector=detector)


@app.command(epilog="Example:  ferops export models/core.keras mine.tflite")
def export(
    model: _Network,
    out: Annotated[
        Path,
        typer.Argument(
            help="NAME.tflite for `ferops predict`, NAME.onnx, or NAME for a SavedModel. Kept if it exists."
        ),
    ],
    int8: Annotated[bool, typer.Option("--int8", help="A smaller .tflite in 8-bit integers.")] = False,
) -> None:
    """Export a trained network, checked against the Keras model on the validation split."""
    from ferops.commands.export import export

    export(model, out, Console(), int8=int8)


@app.command(epilog="Example:  ferops results")
def results() -> None:
    """Show the measured figures beside the paper's, and which model has them."""
    from ferops.commands.results import show

    show(Console())


@app.command(
    epilog="Examples:  ferops promote  |  ferops promote fer-vgg16/3  |  ferops promote lr-1e-3  |  "
    "ferops promote fer-lean-cnn@challenger --against fer-vgg16@champion"
)
def promote(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION|EXPERIMENT|RUN]",
            help=f"{_VERSION}; or a DVC experiment or MLflow run, which is registered and nominated first. "
            "By default the challenger.",
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Compare it with this version instead of the champion.")
    ] = None,
) -> None:
    """Check a version against the rules and the champion on validation; promote it, or say why not."""
    from ferops.commands.registry.promote import promote

    raise typer.Exit(0 if promote(model, Console(), against=against) else 1)


@app.command(epilog="Examples:  ferops rollback  |  ferops rollback fer-lean-cnn")
def rollback(
    model: Annotated[str | None, typer.Argument(help="Registered model; by default that of params.yaml.")] = None,
) -> None:
    """Make the previous champion champion again."""
    from ferops.commands.registry.promote import rollback

    rollback(model, Console())


@app.command(
    epilog="Examples:  ferops trace  |  ferops trace fer-vgg16/3 --verify  |  ferops trace --json > lineage.json",
)
def trace(
    model: Annotated[str | None, typer.Argument(help=f"{_VERSION}; by default the champion.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Train it again from its commit, and compare.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with every md5 in full.")] = False,
) -> None:
    """Show where a model comes from: commit or experiment, data, parameters, weights, figures, and its history."""
    from ferops.commands.registry.trace import trace

    raise typer.Exit(0 if trace(model, Console(), rebuild=verify, as_json=as_json) else 1)


@app.command(epilog="Examples:  ferops card  |  ferops card fer-vgg16@champion  |  ferops card fer-vgg16/3 > README.md")
def card(
    model: Annotated[str | None, typer.Argument(help=f"{_VERSION}; by default the shipped network.")] = None,
) -> None:
    """Show a network's model card: data, figures with intervals, intended and prohibited use, limits, licences."""
    from ferops.commands.registry.card import card

    card(model, Console())


@app.command(epilog="Example:  rm -r mlflow.db mlartifacts && ferops restore")
def restore() -> None:
    """Rebuild an empty or lost registry from reports/registry.jsonl, git and DVC's cache or remote."""
    from ferops.commands.registry.restore import restore

    raise typer.Exit(0 if restore(Console()) else 1)


@app.command(epilog="Example:  ferops summary")
def summary() -> None:
    """Show the network of params.yaml, layer by layer; the paper's with its parameter counts beside the paper's."""
    from ferops import paper, params
    from ferops.machine.tensorflow import quiet_imports

    settings = params.load().model
    with quiet_imports():
        from ferops.model.networks import systems
    model = systems.build(settings)
    model.summary(line_length=100, expand_nested=True, show_trainable=True)
    counted = {"ours": tuple(systems.counts(model).values())}
    if settings.name == "vgg16_transfer":
        counted["the paper"] = paper.TABLE_2
    for whose, (total, trainable, fixed) in counted.items():
        print(f"{whose:<13}{total:,} parameters, {trainable:,} trainable, {fixed:,} not")


def main() -> None:
    """Run a command; a user's mistake is one line on stderr and exit status 1."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # cleanup in `finally` runs
    settle()
    try:
        app()
    except FeropsError as error:
        sys.exit(f"ferops: {error}")
    except OSError as error:
        sys.exit(f"ferops: {describe_os_error(error)}")
