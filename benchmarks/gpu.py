"""Every path that needs a CUDA device, once, in under 8 minutes. `make test-gpu` runs it.

Each section runs in its own process with a time limit. What fails there is noted, and the others go on. The result
is `build/gpu.json`: the machine, its versions, every figure, and the error of each section that failed. Every
`x_over_y` is a ratio of rates: above 1, x is the quicker one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stdc_search.storage import write_atomically

OUT = Path("build/gpu.json")
TOTAL_S = 450
BATCH, CROP = 16, (512, 1024)
DEVICE = "cuda"
KERNELS = 24
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Found:
    """What a section has found so far."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        self.errors: dict[str, str] = {}

    def tried(self, name: str, call: Callable[[], None]) -> None:
        """Note an error and go on; what is known so far is printed, in case that the next call never returns."""
        try:
            call()
        except Exception:
            self.errors[name] = traceback.format_exc()[-3000:]
        print(json.dumps(vars(self)), flush=True)

    def ratio(self, one: str, other: str) -> None:
        """Add a ratio of two rates, if both are known."""
        x, y = (self.figures.get(f"{name}_images_per_s") for name in (one, other))
        if x and y:
            self.figures[f"{one}_over_{other}"] = x / y


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "section", nargs="?", choices=[*SECTIONS, "worker"], help="run this one only, in this process"
    )
    section = arguments.parse_args().section
    if section == "worker":
        work()
        return 0
    if not torch.cuda.is_available():
        print("no GPU here: PyTorch finds no CUDA device; nothing was run")
        return 0
    if section is not None:
        found = Found()
        found.tried(section, lambda: SECTIONS[section][0](found))
        return 0
    return run_all()


def run_all() -> int:
    """Run each section in its own process, and write the results after each."""
    begin = time.monotonic()
    result: dict[str, Any] = {"machine": machine(), "figures": {}, "errors": {}, "seconds": {}}
    for name, (_, limit) in SECTIONS.items():
        left = TOTAL_S - (time.monotonic() - begin)
        started = time.monotonic()
        found = run_apart(name, min(limit, left)) if left > 10 else {"errors": {name: "no time was left for it"}}
        result["seconds"][name] = round(time.monotonic() - started, 1)
        for key in ("figures", "errors"):
            result[key] |= found.get(key, {})
        OUT.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(OUT, json.dumps(result, indent=2) + "\n")
        errors = found.get("errors", {})
        print(f"{name}: {result['seconds'][name]} s, {'failed: ' + ', '.join(errors) if errors else 'ok'}", flush=True)
    print(json.dumps(result["figures"], indent=2))
    for name, error in result["errors"].items():
        print(f"\n{name}:\n{error}")
    print(f"saved: {OUT}")
    return 1 if result["errors"] else 0


def machine() -> dict[str, Any]:
    """The machine as records describe it; the versions alone, should that fail."""
    try:
        from stdc_search.latency import describe_machine

        return describe_machine().model_dump(mode="json")
    except Exception:
        return {
            "device": torch.cuda.get_device_name(),
            "versions": {"python": sys.version, "torch": torch.__version__},
            "error": traceback.format_exc(),
        }


def command(name: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.gpu", name]


def run_apart(name: str, limit: float) -> dict[str, Any]:
    """A section's figures and errors, from a process that ends with all its children when the time is up."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        process = subprocess.Popen(command(name), stdout=out, stderr=err, text=True, start_new_session=True)
        try:
            code: int | str = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = f"stopped after {limit:.0f} s"
        out.seek(0)
        err.seek(0)
        found: dict[str, Any] = {"figures": {}, "errors": {}}
        for line in out:
            with suppress(json.JSONDecodeError):
                found = json.loads(line)
        if code:
            found["errors"][name] = f"exit {code}\n{err.read()[-3000:]}"
        return found


# ---- tests


def gpu_tests(found: Found) -> None:
    """Everything marked `gpu`."""
    files = [str(path) for path in sorted(Path("tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    found.figures["tests"] = lines[-1] if lines else ""
    if done.returncode:
        found.errors["tests"] = (done.stdout + done.stderr)[-3000:]


# ---- training


def run_spec() -> Any:
    from stdc_search.spec.base import replace
    from stdc_search.spec.run import load

    changes = {"batch": BATCH, "crop": CROP, "schedule.warmup": 0, "precision": "fp32"}
    return replace(load("experiments/stdc1_camvid480/spec.yaml"), {f"training.{k}": v for k, v in changes.items()})


class Noise:
    """Images of noise in memory, as large as the crop."""

    def __init__(self, images: int, classes: int) -> None:
        self.class_names = tuple(map(str, range(classes)))
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(256, (images, 3, *CROP), dtype=torch.uint8, generator=generator)
        self.labels = torch.randint(classes, (images, *CROP), dtype=torch.uint8, generator=generator)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


def steps_of(precision: str) -> Callable[[int], None]:
    """A function that takes training steps of STDC1-Seg with one batch, and returns when they are done."""
    from stdc_search.network.builder import build
    from stdc_search.spec.base import replace
    from stdc_search.tasks import task_of
    from stdc_search.training.loop import _Step
    from stdc_search.training.optimizer import make_optimizer

    spec = replace(run_spec(), {"training.optimizer": {"kind": "adamw"}})
    module = build(spec.network).to(DEVICE).to(memory_format=torch.channels_last).train()
    step = _Step(module, task_of(spec).loss(spec.training.loss, Noise(1, spec.network.classes))).to(DEVICE)
    optimizer, dtype = make_optimizer(module, spec.training), DTYPES[precision]
    scaler = torch.amp.GradScaler(DEVICE, enabled=precision == "fp16")
    images = torch.randn(BATCH, 3, *CROP, device=DEVICE).to(memory_format=torch.channels_last)
    labels = torch.randint(spec.network.classes, (BATCH, *CROP), device=DEVICE)

    def take(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast(DEVICE, dtype) if dtype else nullcontext():
                loss = step(images, labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    take(3)
    return take


def rate(take: Callable[[int], None], steps: int = 15) -> float:
    """Images per second."""
    begin = time.perf_counter()
    take(steps)
    return BATCH * steps / (time.perf_counter() - begin)


def training_step(found: Found) -> None:
    """A step of STDC1-Seg in each precision."""
    for precision in DTYPES:

        def timed(precision: str = precision) -> None:
            found.figures[f"step_{precision}_images_per_s"] = rate(steps_of(precision))
            torch.cuda.empty_cache()

        found.tried(f"step_{precision}", timed)
    for precision in ("bf16", "fp16"):
        found.ratio(f"step_{precision}", "step_fp32")


def kernels(found: Found) -> None:
    """Where the time of a training step goes: milliseconds of the kernels that take most of it."""
    from torch.profiler import ProfilerActivity, profile

    for precision in ("fp32", "bf16"):

        def profiled(precision: str = precision) -> None:
            take, steps = steps_of(precision), 5
            with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
                take(steps)
            spent = {one.key: one.self_device_time_total / 1000 / steps for one in profiler.key_averages()}
            longest = sorted(spent, key=lambda name: -spent[name])[:KERNELS]
            found.figures[f"kernels_{precision}_ms"] = {name[:100]: round(spent[name], 3) for name in longest}
            torch.cuda.empty_cache()

        found.tried(f"kernels_{precision}", profiled)


def trained(**changes: Any) -> float:
    """Images per second, loading included, of the fastest epoch after the first of a real training."""
    from stdc_search.data.transforms import TrainingSamples
    from stdc_search.network.builder import build
    from stdc_search.spec.base import replace
    from stdc_search.tasks import task_of
    from stdc_search.training.loop import train

    spec = replace(run_spec(), {f"training.{key}": value for key, value in {"epochs": 4, **changes}.items()})
    how, data = spec.training, Noise(8 * BATCH, spec.network.classes)
    samples = TrainingSamples(data, crop=how.crop, augmentation=how.augmentation, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        loss = task_of(spec).loss(how.loss, data)
        curve = train(build(spec.network), samples, loss, how, seed=0, folder=Path(folder))
    return 8 * BATCH / min(point.seconds for point in curve[1:])


def training(found: Found) -> None:
    """The real loop: each precision, averaged weights, and augmentation on the device."""
    ways: dict[str, dict[str, Any]] = {
        "fp32": {},
        "bf16": {"precision": "bf16"},
        "fp16": {"precision": "fp16", "ema": {"decay": 0.99}},
        "augmented_on_gpu": {"precision": "bf16", "augment_on": "device"},
    }
    for name, changes in ways.items():

        def timed(name: str = name, changes: dict[str, Any] = changes) -> None:
            found.figures[f"train_{name}_images_per_s"] = trained(**changes)

        found.tried(f"train_{name}", timed)
    found.ratio("train_bf16", "train_fp32")
    found.ratio("train_augmented_on_gpu", "train_bf16")


def compiled_training(found: Found) -> None:
    """The real loop with torch.compile and its CUDA graphs; the first epoch compiles."""

    def timed() -> None:
        found.figures["train_compiled_images_per_s"] = trained(precision="bf16", compile=True)
        found.figures["train_bf16_images_per_s"] = trained(precision="bf16")

    found.tried("train_compiled", timed)
    found.ratio("train_compiled", "train_bf16")


def work() -> None:
    """As many steps as each line of the standard input says."""
    take = steps_of("bf16")
    print("ready", flush=True)
    for line in sys.stdin:
        take(int(line))
        print("done", flush=True)


def two_trainings(found: Found) -> None:
    """Two processes that train on one GPU, side by side and in turn."""
    steps = 20
    pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command("worker"), **pipe) for _ in range(2)]

    def go(worker: subprocess.Popen[str]) -> None:
        assert worker.stdin is not None
        worker.stdin.write(f"{steps}\n")
        worker.stdin.flush()

    def wait(worker: subprocess.Popen[str]) -> None:
        assert worker.stdout is not None
        if not worker.stdout.readline():
            raise RuntimeError("a training process failed")

    def timed() -> None:
        for worker in workers:
            wait(worker)
        begin = time.perf_counter()
        for worker in workers:
            go(worker)
            wait(worker)
        middle = time.perf_counter()
        for worker in workers:
            go(worker)
        for worker in workers:
            wait(worker)
        end = time.perf_counter()
        found.figures["two_in_turn_images_per_s"] = 2 * steps * BATCH / (middle - begin)
        found.figures["two_side_by_side_images_per_s"] = 2 * steps * BATCH / (end - middle)
        found.ratio("two_side_by_side", "two_in_turn")

    found.tried("two_trainings", timed)
    for worker in workers:
        worker.kill()


# ---- what uses a trained network


def latencies(found: Found) -> None:
    """STDC1-Seg50 on every runtime that has a GPU here. A missing runtime is not an error."""
    from stdc_search.errors import UserError
    from stdc_search.latency import Entry, measure
    from stdc_search.network.builder import build
    from stdc_search.spec.choices import PRECISIONS
    from stdc_search.spec.measurement import RuntimeSpec
    from stdc_search.spec.run import load

    spec = load("specs/stdc1_seg50.yaml")
    module = build(spec.network)
    places = [("onnxruntime", "cuda"), ("onnxruntime", "tensorrt"), ("eager", "cuda"), ("compile", "cuda")]
    for runtime, device in places:
        # Compiling takes long, so it is tried once.
        for precision in ("fp16",) if runtime == "compile" else (p for p in PRECISIONS[runtime] if p != "int8"):
            name = f"latency_{runtime}_{device}_{precision}"

            def timed(
                name: str = name, runtime: str = runtime, device: str = device, precision: str = precision
            ) -> None:
                how = RuntimeSpec.model_validate({"runtime": runtime, "device": device, "precision": precision})
                try:
                    (latency,) = measure([Entry(module, spec.image_size, how)])
                    found.figures[f"{name}_ms"] = latency.median_ms
                except UserError as error:
                    found.figures[name] = f"not here: {error}"

            found.tried(name, timed)


def search(found: Found) -> None:
    """The quickstart with fewer candidates."""
    from stdc_search.records import read
    from stdc_search.spec.base import dump, replace
    from stdc_search.spec.run import load

    with tempfile.TemporaryDirectory() as folder:
        spec, out = Path(folder, "quickstart.yaml"), Path(folder, "run")
        dump(replace(load("specs/quickstart.yaml"), {"search.trials": 4}), spec)
        begin = time.perf_counter()
        command = [sys.executable, "-m", "stdc_search", "run", str(spec), "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        found.figures["quickstart_s"] = time.perf_counter() - begin
        records = read(out / "results.jsonl") if (out / "results.jsonl").exists() else []
        found.figures["quickstart_states"] = [record.state for record in records]
        if done.returncode or not records or any(record.state != "complete" for record in records):
            reasons = [record.reason for record in records if record.reason]
            found.errors["quickstart"] = f"exit {done.returncode}; {reasons}\n{(done.stdout + done.stderr)[-3000:]}"


SECTIONS: dict[str, tuple[Callable[[Found], None], float]] = {
    "tests": (gpu_tests, 100),
    "step": (training_step, 60),
    "kernels": (kernels, 45),
    "train": (training, 90),
    "two": (two_trainings, 60),
    "compile": (compiled_training, 150),
    "search": (search, 120),
    "latency": (latencies, 120),
}
"""What is run, in this order, and for how many seconds at most."""

if __name__ == "__main__":
    sys.exit(main())
