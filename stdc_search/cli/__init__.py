"""The command line: arguments in, tables out. Heavy imports stand inside the commands."""

from __future__ import annotations

import errno
import gc
import os
import shlex
import signal
import sys
import warnings
from functools import partial
from mimetypes import guess_type
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stdc_search.cli import results
from stdc_search.cli.options import (
    AS_IN_SPEC,
    DataRoot,
    Int8,
    On,
    Out,
    Python,
    Spec,
    Specs,
    Threads,
    Weights,
    choice,
    echo,
    folder_option,
    progress_bar,
)
from stdc_search.run_folder import spec_name
from stdc_search.spec.choices import Dynamic, FloatPrecision, Format, Precision, ProfiledRuntime, Runtime
from stdc_search.spec.shipped import place_of

if TYPE_CHECKING:
    from stdc_search.commands.labeller import Labeller
    from stdc_search.spec.run import RunSpec
    from stdc_search.spec.search import SearchSpec

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the boxes of rich double the time of --help
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from stdc_search import __version__

        echo(f"stdc-search {__version__}")
        raise typer.Exit


@app.callback()
def main_command(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Search for fast and accurate segmentation networks.

    A spec declares a network, what may vary and what it may cost; `run` returns the speed-accuracy front.
    """


@app.command("run")
def run_command(
    spec: Spec,
    out: Annotated[
        Path | None, folder_option("Run folder.", "runs/NAME of the spec file, or the run whose own spec it is")
    ] = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", help="Earlier run folder, whose trainings are taken over; repeatable.", show_default=False
        ),
    ] = None,
    data_root: DataRoot = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a line: notes, progress, candidates, the report.")
    ] = False,
) -> None:
    """Run a spec and report the results.

    Each section of the spec enables a step: cost, latency, training, search. Run again with the same folder to
    resume; results that are already there are kept. After a change of limits or ranges, `--from` gives a new folder
    the trainings that still fit.
    """
    if quiet and as_json:
        raise typer.BadParameter("prints nothing with --quiet; give one of them", param_hint="--json")
    _load(spec)
    from rich.console import Console

    from stdc_search.commands.run import run
    from stdc_search.commands.screen import JsonLines, Screen

    gc.freeze()  # else each candidate searches all imports for garbage, which takes 0.9 s
    console = Console(quiet=quiet, force_terminal=False if as_json else None)
    screen = (JsonLines if as_json else Screen)(console)
    run(spec, out, earlier=earlier or (), data_root=data_root, screen=screen)


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/quickstart"),
) -> None:
    """Run a first small search, which needs no data.

    The same as `run quickstart`: networks for simple street scenes, which the package draws.
    """
    run_command(place_of("quickstart"), out)


@app.command("specs")
def specs_command(
    name: Annotated[
        str | None, typer.Argument(help="One of them, to print or copy.", show_default="list all of them")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New file for a copy.", show_default="standard output")] = None,
) -> None:
    """List the specs that come with the package, or copy one.

    Each command takes their names where it takes a file: `stdc-search cost stdc1_seg50 baselines/enet`.
    """
    from stdc_search.commands.shipped import copy
    from stdc_search.spec.shipped import about, names, text

    if name is None:
        width = max(map(len, names()))
        echo("\n".join(f"{one:{width}}  {about(one)}" for one in names()))
    elif out is None:
        echo(text(name), end="")
    else:
        copy(name, out)
        echo(f"saved: {out}; next: stdc-search check {out}, then stdc-search run {out}")


@app.command("init")
def init_command(
    folder: Annotated[Path, typer.Argument(help="Folder of labelled images.", show_default=False)],
    hours: Annotated[float, typer.Option(min=0.05, help="Hours that the search may take on this machine.")] = 2.0,
    out: Annotated[Path | None, typer.Option(help="New spec file.", show_default="NAME of the folder.yaml")] = None,
) -> None:
    """Write a first spec for your own data.

    Recognises what labelling tools export, and images and masks in folders. Chooses the encoding of the masks, a split
    that keeps videos apart, an image size and a search that fit this machine, and explains them in comments.
    """
    from stdc_search.commands.init import init

    file = out or Path(f"{folder.absolute().name}.yaml")
    with progress_bar("init") as progress:
        lines = init(folder, file, hours, lambda what, done, total: progress(done, total, f"{what} read"))
    told = shlex.quote(str(file))
    echo("\n".join([*lines, f"saved: {file}; next: stdc-search data {told}, then stdc-search run {told}"]))


@app.command("check")
def check_command(
    specs: Specs,
    data: Annotated[
        bool, typer.Option("--data", help="Also find the files of `data`; print steps, memory and hours.")
    ] = False,
    data_root: DataRoot = None,
) -> None:
    """Check specs and print what they would do.

    Reads no data and builds no network without --data. Reports every mistake with its file, line and path.
    """
    from stdc_search.errors import UserError
    from stdc_search.spec.advice import advice
    from stdc_search.spec.run import load

    mistakes = False
    for path in specs:
        try:
            spec = load(path)
            echo(f"{path}: {spec.summary}")
            for text in advice(spec):
                echo(f"Note: {text}.")
            if data:
                from stdc_search.commands.check import check_data

                for line in check_data(spec, path, data_root):
                    echo(line)
        except UserError as error:
            echo(error, error=True)
            mistakes = True
    if mistakes:
        raise typer.Exit(2)


@app.command("data")
def data_command(
    spec: Spec,
    data_root: DataRoot = None,
    out: Annotated[Path | None, folder_option("Output folder.", "runs/data/NAME of the spec file")] = None,
) -> None:
    """Check a data set and draw samples of it.

    Reads every image and label. Prints sizes and class shares, names every broken file, and draws training images
    with the crop and augmentation of the spec.
    """
    _load(spec)
    from stdc_search.commands.inspect import inspect_data
    from stdc_search.errors import alike_in_one
    from stdc_search.report.survey import class_frame, line_of
    from stdc_search.report.tables import show_table
    from stdc_search.storage import write_atomically

    folder = out or Path("runs/data") / spec_name(spec)
    with progress_bar("images") as progress:
        found = inspect_data(spec, folder, data_root=data_root, progress=progress)
    show_table(class_frame(found.surveys), folder / "classes", title=f"Classes in the data of {spec.name}")
    echo("\n".join([*map(line_of, found.surveys), *(f"Note: {remark}" for remark in found.remarks)]))
    if found.page is not None:
        echo(f"saved: {found.page}")
    every = folder / "problems.txt"
    if found.problems:
        write_atomically(every, "\n".join([*found.problems, ""]))
        echo("\n".join([*alike_in_one(found.problems), f"saved: {every}, with all problems"]), error=True)
        raise typer.Exit(2)
    every.unlink(missing_ok=True)
    echo("No problems found.")


@app.command("cost")
def cost_command(
    specs: Specs,
    parts: Annotated[bool, typer.Option("--parts", help="Print one table per network, with a row per stage.")] = False,
    out: Out = Path("runs/cost"),
) -> None:
    """Count parameters, multiply-adds and FLOPs.

    Saves the tables as CSV, Markdown and LaTeX.
    """
    runs = _load_all(specs)
    from stdc_search.network.cost import count, count_parts, output_stride, warn_of_trunk
    from stdc_search.report.costs import RULES, cost_frame, parts_frame
    from stdc_search.report.tables import show_table

    for run in runs.values():
        warn_of_trunk(run.network)
    if parts:
        for name, run in runs.items():
            frame = parts_frame(count_parts(run.network, run.image_size), run.image_size)
            show_table(frame, out / f"parts-{name}", title=name)
    else:
        rows = [
            (name, size := run.image_size, output_stride(run.network, size), count(run.network, size))
            for name, run in runs.items()
        ]
        show_table(cost_frame(rows), out / "cost", title="Cost")
    echo(RULES)


@app.command("time")
def time_command(
    specs: Specs,
    runtime: Annotated[list[str] | None, choice(Runtime, "Runtime; repeatable.", AS_IN_SPEC)] = None,
    precision: Annotated[list[str] | None, choice(Precision, "Precision; repeatable.", AS_IN_SPEC)] = None,
    threads: Threads = None,
    on: On = None,
    python: Python = None,
    data_root: DataRoot = None,
    out: Out = Path("runs/time"),
) -> None:
    """Measure and compare latencies.

    Measures as the section `latency` of each spec says. The networks take turns, so that the load of the machine
    affects all of them. Networks with the same place do not differ significantly.
    """
    runs = _load_all(specs)
    from stdc_search.commands.timing import time_networks
    from stdc_search.doubt import doubts
    from stdc_search.latency import note_machine
    from stdc_search.report.costs import latency_frame
    from stdc_search.report.tables import show_table
    from stdc_search.report.words import device, ties

    timings = time_networks(runs, runtime, precision, threads, on, python, data_root=data_root)
    frame = latency_frame((name, one.latency, one.place, one.machine) for name, one in timings)
    out.mkdir(parents=True, exist_ok=True)
    machines = {device(note_machine(out / "machine.json", timing.machine)): None for _, timing in timings}
    show_table(frame, out / "time", title=f"Latency on {' and '.join(machines)}")
    echo(ties(frame))
    for name, timing in timings:
        if reasons := doubts(timing.latency):
            how = f"{timing.latency.runtime} {timing.latency.precision}"
            echo(f"{name}, {how}: this time is not reliable: {reasons}", error=True)


@app.command("calibrate")
def calibrate_command(
    spec: Spec,
    runtime: Annotated[ProfiledRuntime | None, choice(ProfiledRuntime, "Runtime.", AS_IN_SPEC)] = None,
    precision: Annotated[FloatPrecision | None, choice(FloatPrecision, "Precision.", AS_IN_SPEC)] = None,
    threads: Threads = None,
    on: On = None,
    python: Python = None,
    out: Annotated[
        Path | None, folder_option("Output folder.", "runs/calibrate/NAME of the spec file and runtime")
    ] = None,
) -> None:
    """Learn to predict the latency of candidates.

    Measures networks of a search space on this machine, or on the device that `--on` names, learns the latency of
    each part, and reports how well the sums predict other networks. `latency.table` of a spec takes the table that
    this command writes.
    """
    run, _ = _load_search(spec, "use `stdc-search time` to measure a single network")
    from stdc_search.commands.calibrate import TABLE, calibrate
    from stdc_search.report.costs import held_out_frame
    from stdc_search.report.tables import show_table
    from stdc_search.report.words import trust
    from stdc_search.spec.measurement import LatencySpec, varied

    wanted = (run.latency or LatencySpec()).model_copy(update={"also": ()})
    (how,) = varied(wanted, runtime and [runtime], precision and [precision], threads, on, python)
    host = "" if how.on is None else f"_{how.on.removeprefix('ssh://')}"
    folder = out or Path("runs/calibrate") / f"{spec_name(spec)}_{how.runtime}{host}"
    with progress_bar("networks measured") as progress:
        table, held_out = calibrate(run, how, folder, progress=progress)
    show_table(held_out_frame(held_out), folder / "held_out", title="Networks that were not used for fitting")
    echo(trust(table))
    echo(f"saved: {folder / TABLE}")


@app.command("bundle")
def bundle_command(
    spec: Spec,
    runtime: Annotated[ProfiledRuntime | None, choice(ProfiledRuntime, "Runtime.", AS_IN_SPEC)] = None,
    precision: Annotated[FloatPrecision | None, choice(FloatPrecision, "Precision.", AS_IN_SPEC)] = None,
    threads: Threads = None,
    out: Annotated[
        Path | None, folder_option("Output folder.", "runs/bundle/NAME of the spec file and runtime")
    ] = None,
) -> None:
    """Write a folder that calibrates a device by hand.

    For a device that cannot be reached by SSH. Copy the folder there and start its `run.sh`, which writes `times.json`;
    `latency: {on: elsewhere, table: times.json}` of a spec takes it.
    """
    run, _ = _load_search(spec, "use `stdc-search export` for the file of a single network")
    from stdc_search.commands.bundle import SCRIPT, bundle
    from stdc_search.spec.measurement import LatencySpec, varied

    wanted = (run.latency or LatencySpec()).model_copy(update={"also": ()})
    (how,) = varied(wanted, runtime and [runtime], precision and [precision], threads)
    folder = out or Path("runs/bundle") / f"{spec_name(spec)}_{how.runtime}"
    with progress_bar("networks written") as progress:
        bundle(run, how, folder, progress=progress)
    echo(f"saved: {folder}; copy it to the device and start {SCRIPT} there")


@app.command("score")
def score_command(
    spec: Spec,
    weights: Weights,
    runtime: Annotated[list[str] | None, choice(Runtime, "Runtime; repeatable.", "eager")] = None,
    precision: Annotated[list[str] | None, choice(Precision, "Precision; repeatable.", "fp32")] = None,
    on: On = None,
    python: Python = None,
    data_root: DataRoot = None,
    out: Out = Path("runs/score"),
) -> None:
    """Score trained weights on validation images.

    Runs the network in PyTorch, or on the runtimes, in the precisions and on the device that it will be deployed on.
    """
    run = _load(spec)
    from stdc_search.commands.score import score
    from stdc_search.report.scores import score_frame
    from stdc_search.report.tables import show_table
    from stdc_search.spec.measurement import LatencySpec, varied

    default = LatencySpec(runtime="onnxruntime" if on or run.network.kind == "onnx_file" else "eager")
    runtimes = varied(default, runtime, precision, None, on, python)
    with progress_bar("images") as progress:
        scores = score(run, weights, runtimes, data_root=data_root, progress=progress)
    frame = score_frame(zip(runtimes, scores, strict=True))
    show_table(frame, out / "score", title=f"{weights} on the validation images of {spec}")


@app.command("predict")
def predict_command(
    network: Annotated[
        Path,
        typer.Argument(
            help="File that `export` wrote (.onnx or .xml); or spec file, followed by weights.", show_default=False
        ),
    ],
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Images, videos, or folders of them; or a camera: its number, such as 0, or its address (rtsp://, "
            "http://).",
            show_default=False,
        ),
    ],
    out: Out = Path("runs/predict"),
    label_ids: Annotated[
        bool, typer.Option("--label-ids", help="Write label ids for the Cityscapes test server.")
    ] = False,
) -> None:
    """Segment images, videos and cameras.

    Writes a label map and an overlay for each image, and an overlay for each video. Shows a camera's speed and records
    its overlay until Ctrl-C.
    """
    labeller = _labeller(network, sources)
    from stdc_search.commands.predict import predict

    with progress_bar("images and frames") as progress:
        files, speeds = predict(labeller, sources, out, label_ids=label_ids, told=progress)
    for name, speed in speeds.items():
        echo(f"{name}: {speed}")
    echo(f"{len(files)} files in {out}" if len(files) > 1 else f"saved: {files[0]}")


def _labeller(network: Path, sources: list[str]) -> Labeller:
    """The network; its weights, if it has a file of their own, are taken from what follows it."""
    from stdc_search.errors import UserError

    if network.suffix in (".onnx", ".xml"):
        from stdc_search.commands.labeller import of_file

        return of_file(network)
    if (example := {".pt2": "run_torch.py", ".param": "run_ncnn.py"}.get(network.suffix)) is not None:
        raise UserError(f"{network}: predict runs .onnx and .xml files; export to onnx, or use the file's {example}")
    spec, weights = _load(network), Path(sources.pop(0))
    if not sources:
        is_image = (guess_type(weights.name)[0] or "").startswith("image/")
        meant = "; the weights come between the spec and the images" * is_image
        raise UserError(
            f"there is nothing to segment after the weights {weights}{meant or '; add images, videos or a camera'}"
        )
    from stdc_search.commands.labeller import with_weights

    return with_weights(spec, weights)


@app.command("export")
def export_command(
    spec: Spec,
    weights: Weights,
    to: Annotated[Format, choice(Format, "File format.")] = "onnx",
    int8: Int8 = False,
    dynamic: Annotated[
        list[str] | None, choice(Dynamic, "Leave the number of images, or their size, open; repeatable.", "both fixed")
    ] = None,
    data_root: DataRoot = None,
    out: Annotated[Path | None, folder_option("Output folder.", "runs/export/NAME of the spec file")] = None,
) -> None:
    """Export a trained network for deployment.

    Writes a file that runs without this package, and an example program that runs it.
    """
    run = _load(spec)
    from stdc_search.commands.deliver import deliver

    folder = out or Path("runs/export") / spec_name(spec)
    for path in deliver(run, weights, to, folder, int8=int8, dynamic=dynamic or (), data_root=data_root):
        echo(f"saved: {path}")


@app.command("weights")
def weights_command(
    spec: Spec,
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint file.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Output file, *.safetensors.", show_default=False)],
    partial: Annotated[bool, typer.Option("--partial", help="Take the tensors that fit and list the others.")] = False,
) -> None:
    """Convert a checkpoint to safetensors.

    Reads checkpoints of this package, of the released STDC code and of mmsegmentation.
    """
    run = _load(spec)
    from stdc_search.commands.convert import convert

    loaded = convert(run, checkpoint, out, partial=partial)
    echo("\n".join((str(loaded), *loaded.misfits, f"saved: {out}")))


@app.command("space")
def space_command(
    spec: Spec,
    out: Annotated[Path | None, folder_option("Output folder.", "runs/space/NAME of the spec file")] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Number of evenly spread networks.", show_default="all of them, up to a million"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for `--sample`.")] = 0,
) -> None:
    """Tabulate the costs of a search space.

    Counts every network of the space, or a sample, and shows where STDC1 and STDC2 lie among them.
    """
    run, search = _load_search(spec, "use `stdc-search cost` to count a single network")
    from stdc_search.report.space import show_space
    from stdc_search.search.space import landmarks, tabulate

    with progress_bar("networks") as progress:
        table = tabulate(run, sample, seed=seed, progress=progress)
    show_space(table, landmarks(run), search, out or Path("runs/space") / spec_name(spec), title=spec_name(spec))


app.command("report")(results.report_command)
app.command("watch")(results.watch_command)
app.command("best")(results.best_command)
app.command("compare")(results.compare_command)
app.command("diff")(results.diff_command)


@app.command("schema")
def schema_command(
    out: Annotated[Path | None, typer.Option(help="Output file.", show_default="standard output")] = None,
) -> None:
    """Print the JSON Schema of a spec.

    Editors use it for completion and help.
    """
    from stdc_search.spec.editor import text as schema_text
    from stdc_search.spec.run import RunSpec
    from stdc_search.storage import write_atomically

    text = schema_text(RunSpec)
    if out is None:
        echo(text, end="")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text)


def _load(path: Path) -> RunSpec:
    """A spec. Commands load it before they import torch, which takes seconds, so that a mistake is told at once."""
    from stdc_search.spec.run import load

    return load(path)


def _load_all(paths: list[Path]) -> dict[str, RunSpec]:
    """Specs by the stem of their file; files with equal stems by their path, in a form that can be a file name."""
    from stdc_search.spec.run import load_several

    paths = list(dict.fromkeys(paths))
    stems = [path.stem for path in paths]
    names = [path.stem if stems.count(path.stem) == 1 else "-".join(path.parts).strip("/.-") for path in paths]
    return dict(zip(names, load_several(paths), strict=True))


def _load_search(path: Path, instead: str) -> tuple[RunSpec, SearchSpec]:
    from stdc_search.errors import UserError

    run = _load(path)
    if run.search is None:
        raise UserError(f"{path}: the section `search` is missing; add one, or {instead}")
    return run, run.search


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    """Print a warning; the line of code that it comes from says nothing to a user."""
    if issubclass(category, UserWarning):
        echo(f"Warning: {message}", error=True)
    else:
        echo(f"{filename}:{lineno}: {category.__name__}: {message}", error=True)


def _interrupt(its_process: int, number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does, so that schedulers and containers stop it cleanly."""
    if os.getpid() == its_process and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt  # shells start what runs in the background so
    if os.getpid() == its_process:
        signal.raise_signal(signal.SIGINT)
    else:  # a forked process, such as one that loads images
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def _resume() -> str:
    """What to do next, if the command keeps what it has done when it is interrupted."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    return "; run the same command again to resume" if command in ("run", "demo", "calibrate") else ""


def main() -> None:
    """Entry point: a user's mistake is a message and exit code 2; an unforeseen error keeps its traceback."""
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, partial(_interrupt, os.getpid()))
    try:
        app()
    except ValueError as error:
        from stdc_search.errors import DamagedError, UserError

        if not isinstance(error, UserError | DamagedError):
            raise
        echo(error, error=True)
        if error.advice and sys.argv[1:2] in (["run"], ["check"]):
            echo(error.advice, error=True)
        sys.exit(2)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            echo(f"the disk or a quota is full; make room{_resume()}", error=True)
        elif error.filename:
            echo(f"{error.filename}: {error.strerror}; check the path and its permissions", error=True)
        else:
            raise
        sys.exit(2)
    except SystemExit as error:
        if error.code == 130:  # typer's exit code for Ctrl-C
            echo(f"stopped{_resume()}", error=True)
        raise
