"""The command line: arguments in, tables out. Heavy imports stand inside the commands."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stdc_search.spec.run import RunSpec

app = typer.Typer(
    help="Declare a segmentation network, what may vary and what it may cost; get the speed-accuracy front.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the boxes of rich double the time of --help
)

Spec = Annotated[Path, typer.Argument(help="A spec: YAML or JSON.", show_default=False)]
Specs = Annotated[list[Path], typer.Argument(help="One spec or several: YAML or JSON.", show_default=False)]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="Where a relative data.root starts. Default: $STDC_SEARCH_DATA, else the working folder."),
]


@app.command()
def run(
    spec: Spec,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/ and the file's name.")] = None,
    data_root: DataRoot = None,
) -> None:
    """Do all that a spec says: cost, times, training, search, report. An existing folder goes on where it stopped."""
    from rich.console import Console

    from stdc_search.commands.run import run

    run(spec, out, data_root=data_root, console=Console())


@app.command()
def check(specs: Specs) -> None:
    """Check specs, and say what they would do."""
    from stdc_search.errors import UserError
    from stdc_search.spec.run import load

    mistakes = False
    for path in specs:
        try:
            typer.echo(f"{path}: {load(path).summary}")
        except UserError as error:
            typer.echo(str(error), err=True)
            mistakes = True
    if mistakes:
        raise typer.Exit(2)


@app.command()
def data(
    spec: Spec,
    data_root: DataRoot = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of table and page. Default: runs/data and the file's name.")
    ] = None,
) -> None:
    """Read all of a spec's data: its classes, sizes and broken files, and a page of samples as a training sees them."""
    from rich.console import Console
    from rich.progress import Progress

    from stdc_search.data.survey import faults, open_what_can_be, survey
    from stdc_search.errors import UserError
    from stdc_search.report.samples import sample_page, save_samples
    from stdc_search.report.survey import class_frame, notes
    from stdc_search.report.tables import show_table
    from stdc_search.spec.base import located
    from stdc_search.spec.run import load
    from stdc_search.tasks import preview

    run = load(spec)
    if run.data is None:
        raise UserError(f"{spec}: has no section `data`; add one, such as `data: {{kind: camvid}}`")
    folder = out or Path("runs/data") / spec.stem
    opened, problems = open_what_can_be(run.data, data_root)
    if not opened:
        raise UserError("\n".join(problems))
    surveys = {}
    with Progress(console=Console(stderr=True), transient=True) as bars:
        for split, images in opened.items():
            task = bars.add_task(split, total=len(images))
            surveys[split] = survey(images, split, lambda n, of, task=task: bars.update(task, completed=n, total=of))
            problems += surveys[split].problems
    show_table(class_frame([*surveys.values()]), folder / "classes", title=f"{spec.stem}: classes of the data")
    problems += map(str, located(faults(run.data, surveys), spec).problems)
    typer.echo("\n".join(note for found in surveys.values() for note in notes(found)))
    picture = folder / "samples.png"
    if "train" in surveys and (chosen := surveys["train"].spread(12)):
        train = opened["train"]
        samples = preview(run, train, chosen)
        size = "{} x {}".format(*samples[0][0].shape)
        seen = f"as the training sees them, crops of {size}" if run.training else f"resized to {size}"
        title = f"{spec.stem}: {len(chosen)} of {len(train)} training images, {seen}"
        page = sample_page(title, [train.name(i) for i in chosen], samples, train.class_names)
        typer.echo(f"saved: {save_samples(page, picture)}")
    else:
        picture.unlink(missing_ok=True)  # of an earlier time, it would show what is no more
    if problems:
        typer.echo("\n".join(problems), err=True)
        raise typer.Exit(2)


@app.command()
def cost(
    specs: Specs,
    parts: Annotated[bool, typer.Option("--parts", help="A table a network, with a row a stage.")] = False,
    out: Annotated[Path, typer.Option(help="Folder that gets the tables.")] = Path("runs/cost"),
) -> None:
    """Count parameters, multiply-adds and FLOPs; save the tables as CSV, Markdown and LaTeX."""
    from stdc_search.network.cost import count, count_parts, warn_of_trunk
    from stdc_search.report.costs import cost_frame, parts_frame
    from stdc_search.report.tables import show_table

    runs = _load_all(specs)
    for run in runs.values():
        warn_of_trunk(run.network)
    if parts:
        for name, run in runs.items():
            frame = parts_frame(count_parts(run.network, run.image_size), run.image_size)
            show_table(frame, out / f"parts-{name}", title=name)
    else:
        rows = [(name, run.image_size, count(run.network, run.image_size)) for name, run in runs.items()]
        show_table(cost_frame(rows), out / "cost", title="Cost")


@app.command()
def time(
    specs: Specs,
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="In place of the specs' own: eager, compile, onnxruntime, openvino; may be given again."),
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32, bf16, fp16, int8; may be given again. Default: the specs' own.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: the specs' own.")] = None,
    data_root: DataRoot = None,
    out: Annotated[Path, typer.Option(help="Folder that gets the tables.")] = Path("runs/time"),
) -> None:
    """Time networks as their section `latency` says, taking turns, and say which differences are real."""
    from stdc_search.data import open_dataset
    from stdc_search.deploy.quantize import calibration_images
    from stdc_search.latency import Entry, note_machine, race
    from stdc_search.network.builder import build
    from stdc_search.report.costs import latency_frame
    from stdc_search.report.tables import show_table
    from stdc_search.report.words import device, doubts, ties
    from stdc_search.spec.measurement import LatencySpec, varied

    names, entries, warmups, repeats = [], [], [], []
    for name, run in _load_all(specs).items():
        wanted = run.latency or LatencySpec()
        warmups.append(wanted.warmup)
        repeats.append(wanted.repeats)
        module = build(run.network)
        runtimes = varied(wanted, runtime, precision, threads)
        calibration = None
        if run.data is not None and any(one.precision == "int8" for one in runtimes):
            calibration = calibration_images(open_dataset(run.data, "train", data_root), run.image_size)
        names += [name] * len(runtimes)
        entries += [Entry(module, run.image_size, one, calibration=calibration) for one in runtimes]
    timings = race(entries, warmup=max(warmups), repeats=max(repeats))
    frame = latency_frame((name, latency, place) for name, (latency, place) in zip(names, timings, strict=True))
    out.mkdir(parents=True, exist_ok=True)
    title = f"Latency on {device(note_machine(out / 'machine.json'))}"
    show_table(frame, out / "time", title=title)
    typer.echo(ties(frame))
    for name, timing in zip(names, timings, strict=True):
        if told := doubts(timing.latency):
            typer.echo(f"{name}, {timing.latency.runtime}: do not rank by this time: {told}", err=True)


@app.command()
def calibrate(
    spec: Spec,
    runtime: Annotated[str | None, typer.Option(help="onnxruntime or openvino. Default: the spec's own.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16. Default: the spec's own.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: the spec's own.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the table. Default: runs/calibrate/, the file's name and the runtime's."),
    ] = None,
) -> None:
    """Learn how long each part of a search's networks takes on this machine, and how well their sums predict."""
    from rich.console import Console
    from rich.progress import Progress

    from stdc_search.commands.calibrate import TABLE, calibrate
    from stdc_search.errors import UserError
    from stdc_search.report.costs import held_out_frame
    from stdc_search.report.tables import show_table
    from stdc_search.report.words import trust
    from stdc_search.spec.measurement import LatencySpec, varied
    from stdc_search.spec.run import load

    run = load(spec)
    if run.search is None:
        raise UserError(f"{spec}: has no section `search`, so it is one network; `stdc-search time` measures it")
    wanted = (run.latency or LatencySpec()).model_copy(update={"also": ()})
    (how,) = varied(wanted, runtime and [runtime], precision and [precision], threads)
    folder = out or Path("runs/calibrate") / f"{spec.stem}_{how.runtime}"
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("networks measured")
        table, held_out = calibrate(run, how, folder, progress=lambda n, of: bars.update(task, completed=n, total=of))
    show_table(held_out_frame(held_out), folder / "held_out", title="Networks that the table was not fitted to")
    typer.echo(trust(table))
    typer.echo(f"saved: {folder / TABLE}")


@app.command()
def score(
    spec: Spec,
    weights: Annotated[Path, typer.Argument(help="Weights of its network.", show_default=False)],
    runtime: Annotated[
        list[str] | None, typer.Option(help="eager (default), compile, onnxruntime, openvino; may be given again.")
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32 (default), bf16, fp16, int8; may be given again.")
    ] = None,
    data_root: DataRoot = None,
    out: Annotated[Path, typer.Option(help="Folder that gets the table.")] = Path("runs/score"),
) -> None:
    """Score trained weights on the validation images, in PyTorch or as a runtime and a precision deploy them."""
    from rich.console import Console
    from rich.progress import Progress

    from stdc_search.commands.score import score
    from stdc_search.report.scores import score_frame
    from stdc_search.report.tables import show_table
    from stdc_search.spec.measurement import LatencySpec, varied
    from stdc_search.spec.run import load

    runtimes = varied(LatencySpec(), runtime, precision, None)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("images")
        scores = score(
            load(spec),
            weights,
            runtimes,
            data_root=data_root,
            progress=lambda n, of: bars.update(task, completed=n, total=of),
        )
    out.mkdir(parents=True, exist_ok=True)
    title = f"{weights.name} on the validation images of {spec.name}"
    show_table(score_frame(zip(runtimes, scores, strict=True)), out / "score", title=title)


@app.command()
def predict(
    spec: Spec,
    weights: Annotated[Path, typer.Argument(help="Weights of its network.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="Images, videos, or folders of them.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the label maps and overlays.")] = Path("runs/predict"),
    label_ids: Annotated[
        bool, typer.Option("--label-ids", help="Write Cityscapes' label ids, as its server takes them.")
    ] = False,
) -> None:
    """Write the label map of each image, and images and videos with their classes in colour."""
    from rich.console import Console
    from rich.progress import Progress

    from stdc_search.commands.predict import predict
    from stdc_search.spec.run import load

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("images and frames")
        written = predict(
            load(spec),
            weights,
            images,
            out,
            label_ids=label_ids,
            progress=lambda n, of: bars.update(task, completed=n, total=of),
        )
    typer.echo(f"{len(written)} files in {out}")


@app.command()
def export(
    spec: Spec,
    weights: Annotated[Path, typer.Argument(help="Weights of its network.", show_default=False)],
    to: Annotated[str, typer.Option(help="onnx, openvino or torch.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Weights and features of int8, calibrated on `data`.")] = False,
    data_root: DataRoot = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the files. Default: runs/export/ and the file's name.")
    ] = None,
) -> None:
    """Write a trained network as a file that needs none of this package, with an example that runs it."""
    from stdc_search.commands.deliver import deliver
    from stdc_search.deploy.export import FORMATS
    from stdc_search.errors import UserError, closest
    from stdc_search.spec.run import load

    if to not in FORMATS:
        raise UserError(f"--to {to}: is no format; {closest(to, FORMATS)}")
    folder = out or Path("runs/export") / spec.stem
    for path in deliver(load(spec), weights, to, folder, int8=int8, data_root=data_root):
        typer.echo(f"written: {path}")


@app.command()
def weights(
    spec: Spec,
    checkpoint: Annotated[Path, typer.Argument(help="Weights: our own, released or mmsegmentation's.")],
    out: Annotated[Path, typer.Option(help="File that gets them as safetensors.", show_default=False)],
    partial: Annotated[bool, typer.Option("--partial", help="Take what fits, and list what does not.")] = False,
) -> None:
    """Turn a checkpoint into weights of a spec's network."""
    import torch

    from stdc_search.errors import UserError
    from stdc_search.network.builder import build
    from stdc_search.network.weights import load_weights, save_weights
    from stdc_search.spec.run import load

    if out.suffix != ".safetensors":
        raise UserError(f"{out}: is to be written as safetensors; let its name end with .safetensors")
    torch.manual_seed(0)  # of what `--partial` leaves to chance
    module = build(load(spec).network)
    loaded = load_weights(module, checkpoint, partial=partial)
    if not loaded.taken:
        raise UserError(f"{checkpoint}: nothing of it fits:\n  " + "\n  ".join(loaded.misfits))
    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(module, out)
    for line in (str(loaded), *loaded.misfits, f"saved: {out}"):
        typer.echo(line)


@app.command()
def space(
    spec: Spec,
    out: Annotated[
        Path | None, typer.Option(help="Folder of tables and picture. Default: runs/space and the file's name.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Take so many networks, evenly spread. Default: all, up to a million.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample.")] = 0,
) -> None:
    """Count every network that a search spans, or a sample: how many, how large, where STDC1 and STDC2 lie."""
    from rich.console import Console
    from rich.progress import Progress

    from stdc_search.errors import UserError
    from stdc_search.report.space import show_space
    from stdc_search.search.space import landmarks, tabulate
    from stdc_search.spec.run import load

    run = load(spec)
    if run.search is None:
        raise UserError(f"{spec}: has no section `search`, so it is one network; `stdc-search cost` counts it")
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("networks")
        table = tabulate(run, sample, seed=seed, progress=lambda n, of: bars.update(task, completed=n, total=of))
    show_space(table, landmarks(run), run.search, out or Path("runs/space") / spec.stem, title=spec.stem)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]) -> None:
    """Write the tables and pictures of a run again."""
    from rich.console import Console

    from stdc_search.report import write_report

    write_report(folder).print(Console())


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="File to write. Default: print.", show_default=False)] = None,
) -> None:
    """Give the JSON Schema of a spec, for editors."""
    from stdc_search.spec.run import schema
    from stdc_search.storage import write_atomically

    text = json.dumps(schema(), indent=2) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(out, text)


def _load_all(paths: list[Path]) -> dict[str, RunSpec]:
    """Specs by the stems of their files; by their paths, as a file name can have them, where two stems are equal."""
    from stdc_search.spec.run import load

    paths = list(dict.fromkeys(paths))
    stems = [path.stem for path in paths]
    names = [path.stem if stems.count(path.stem) == 1 else "-".join(path.parts).strip("/.-") for path in paths]
    return {name: load(path) for name, path in zip(names, paths, strict=True)}


def main() -> None:
    """Entry point: a person's mistake is a message and exit code 2, an unforeseen error keeps its traceback."""
    try:
        app()
    except ValueError as error:
        from stdc_search.errors import DamagedError, UserError

        if not isinstance(error, UserError | DamagedError):
            raise
        typer.echo(str(error), err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            typer.echo(
                "the disk is full, or a quota is; what was finished is kept, and the same command goes on from it",
                err=True,
            )
        elif error.filename:
            typer.echo(f"{error.filename}: {error.strerror}; give a path that can be written", err=True)
        else:
            raise
        sys.exit(2)
    except SystemExit as error:
        if error.code == 130:  # what typer makes of Ctrl-C
            typer.echo("stopped; the same command goes on from here", err=True)
        raise
