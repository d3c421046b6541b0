"""Damaged and hostile files through everything that reads files: `make fuzz` runs it.

    python -m benchmarks.fuzz specs 100000 folders 5000 weights 2000 pictures 2000

Each answer must be a value or an error of this package, within a time and a growth of memory. A file that gives
something else is kept in `build/fuzz/`, with what it gave. Case I of a kind is always the same file.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from benchmarks.bench import report
from stdc_search.commands.video import redraw
from stdc_search.data.decoding import mask_codes, read_image
from stdc_search.errors import UserError
from stdc_search.network.builder import build
from stdc_search.network.weights import load_weights
from stdc_search.report.writing import write_report
from stdc_search.run_folder import RESULTS, SPEC
from stdc_search.spec.files import read, to_json, to_yaml
from stdc_search.spec.run import RunSpec, load

ROOT = Path(__file__).parents[1]
KEPT = Path("build/fuzz")
CHUNK = 50
"""Cases of one process at a time."""
SPECS = sorted((ROOT / "specs").rglob("*.yaml"))
RUN = ROOT / "experiments" / "camvid_front" / "run"
TINY = (16, 24)
# fmt: off
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 10**6, 2**63 - 1, -(2**63), 1e308, -1e308, 1e-320, 0.5,
    "", " ", "null", "x" * 300, "../" * 50, "~nobody/x", "/dev/zero", "\x1b[2J", "<script>", "$HOME", "a\nb", "é",
    "\u202e", [], {}, [[]], [None], {"kind": "stdc"}, {"kind": None}, {"": 1}, list(range(300)),
)
TOKENS = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\t", b"\r", b"\n", b"---\n", b"...\n", b"%YAML 1.1\n",
    b"&a ", b"*a", b"<<: *a\n", b"!!python/object/apply:os.system ", b"!!binary ", b"? ", b": ", b"- ", b"- " * 200,
    b"[" * 40, b"{" * 40, b"]", b"}", b"|\n", b">\n", b'"', b"'", b"#", b"~", b"yes", b'"\\U7fffffff"', b'"\\ud800"',
    b"0x" + b"f" * 5000, b"9" * 5000, b"a" * 5000, b"1e999", b".nan", b"-.inf", b"1_000", b"0o17", b"12:30:45",
)
# fmt: on


class Limits(NamedTuple):
    """What an answer may take."""

    seconds: float
    megabytes: float


class Slow(BaseException):
    """An answer took too long; no `except Exception` catches it."""


def main(words: list[str]) -> None:
    wanted = dict(zip(words[::2], map(int, words[1::2]), strict=True)) or dict.fromkeys(KINDS, 100)
    shutil.rmtree(KEPT, ignore_errors=True)
    figures: dict[str, float] = {}
    for kind, count in wanted.items():
        found: Counter[str] = Counter()
        longest = most = 0.0
        starts = range(0, count, CHUNK)
        with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
            for some, seconds, megabytes in pool.map(chunk, [kind] * len(starts), starts, [count] * len(starts)):
                found.update(some)
                longest, most = max(longest, seconds), max(most, megabytes)
        figures |= {f"{kind}: {answer}": number for answer, number in sorted(found.items())}
        figures |= {f"{kind}: longest, s": longest, f"{kind}: most memory, MB": most}
    report("fuzz", figures)
    sys.exit(any(figures.get(f"{kind}: wrong", 0) for kind in wanted))


def chunk(kind: str, start: int, end: int) -> tuple[dict[str, int], float, float]:
    """The answers to some cases, the time of the slowest, and the growth of memory beyond the first."""
    warnings.simplefilter("ignore")
    make, limits = KINDS[kind]
    found: Counter[str] = Counter()
    longest, before = 0.0, 0.0
    signal.signal(signal.SIGALRM, _ring)
    with tempfile.TemporaryDirectory() as place:
        for number in range(start, min(start + CHUNK, end)):
            folder = Path(place, str(number))
            folder.mkdir()
            use = make(random.Random(f"{kind} {number}"), folder)
            began, wrong = time.perf_counter(), ""
            signal.setitimer(signal.ITIMER_REAL, 10 * limits.seconds)
            try:
                use()
                answer = "values"
            except UserError:
                answer = "errors of the package"
            except (Exception, Slow):
                answer, wrong = "wrong", traceback.format_exc()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            seconds, memory = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            if number == start:
                before = memory  # imports and caches
            elif not wrong and seconds > limits.seconds:
                answer, wrong = "wrong", f"took {seconds:.1f} s"
            elif not wrong and memory - before > limits.megabytes:
                answer, wrong, before = "wrong", f"took {memory - before:.0f} MB", memory
            if wrong:
                keep = KEPT.absolute() / f"{kind}-{number}"
                shutil.copytree(folder, keep, symlinks=True, dirs_exist_ok=True)
                (keep / "wrong.txt").write_text(wrong, "utf-8", errors="replace")
            found[answer] += 1
            longest = max(longest, seconds if number > start else 0.0)
            shutil.rmtree(folder, ignore_errors=True)
    return dict(found), longest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before


def _ring(*_: object) -> None:
    raise Slow


def specs(rng: random.Random, folder: Path) -> Callable[[], object]:
    """A shipped spec with other values, in YAML or JSON, or with other bytes."""
    path = rng.choice(SPECS)
    file = folder / rng.choice(["x.yaml", "x.json", "x.yml"])
    if rng.random() < 0.5:
        file.write_bytes(bent(rng, path.read_bytes(), TOKENS))
    else:
        values: Any = json.loads(json.dumps(read(path).values))
        for _ in range(rng.choice([1, 1, 2, 5])):
            values = changed(rng, values)
        text = to_json(values) if file.suffix == ".json" else to_yaml(values)
        file.write_text(text, "utf-8", errors="surrogatepass")
    return lambda: load(file)


def folders(rng: random.Random, folder: Path) -> Callable[[], object]:
    """A run's folder whose records or spec are damaged."""
    (folder / SPEC).write_text((RUN / SPEC).read_text("utf-8"), "utf-8")
    (folder / "machine.json").write_bytes((RUN / "machine.json").read_bytes())
    lines = (RUN / RESULTS).read_bytes().splitlines()[:12]
    chosen = rng.randrange(len(lines))
    if rng.random() < 0.3:
        lines[chosen] = bent(rng, lines[chosen], TOKENS).replace(b"\n", b" ")
    else:
        values = json.loads(lines[chosen])
        for _ in range(rng.choice([1, 1, 3])):
            values = changed(rng, values)
        lines[chosen] = json.dumps(values).encode("utf-8", "surrogatepass")
    (folder / RESULTS).write_bytes(b"\n".join(lines) + b"\n" * rng.randrange(2))
    if rng.random() < 0.1:
        file = folder / rng.choice([SPEC, "machine.json"])
        file.write_bytes(bent(rng, file.read_bytes(), TOKENS))
    return lambda: write_report(folder)


def weights(rng: random.Random, folder: Path) -> Callable[[], object]:
    """A file of weights that is damaged, or has other tensors."""
    module = build(tiny().network)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for name in rng.sample([*state], rng.choice([0, 1, 5])):
        state[name] = rng.choice(
            [
                torch.full_like(state[name], float("nan")) if state[name].is_floating_point() else state[name],
                state[name].to(rng.choice([torch.float64, torch.float16, torch.int8, torch.bool])),
                state[name][None],
                torch.zeros(0),
            ]
        )
    file = folder / rng.choice(["w.safetensors", "w.pth"])
    if file.suffix == ".pth":
        torch.save(rng.choice([state, {"state_dict": state}, {"model": {"module": state}}]), file)
    else:
        file.write_bytes(save({name: tensor.contiguous() for name, tensor in state.items()}))
    if rng.random() < 0.7:
        file.write_bytes(bent(rng, file.read_bytes(), TOKENS))
    return lambda: load_weights(module, file, partial=rng.random() < 0.5)


def pictures(rng: random.Random, folder: Path) -> Callable[[], object]:
    """An image, a mask or a video that is damaged."""
    kind = rng.choice(["png", "jpg", "bmp", "tiff", "webp", "gif", "mp4", "mkv"])
    file = folder / f"x.{kind}"
    pixels = np.random.default_rng(rng.randrange(2**32)).integers(256, size=(*TINY, 3), dtype=np.uint8)
    if kind in ("mp4", "mkv"):
        with av.open(str(file), "w") as container:
            stream = container.add_stream("mpeg4", 10)
            stream.height, stream.width, stream.pix_fmt = *TINY, "yuv420p"
            for _ in range(5):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
            container.mux(stream.encode())
    else:
        Image.fromarray(pixels).convert(
            rng.choice(["RGB", "L"] if kind in ("jpg", "webp") else ["RGB", "L", "P"])
        ).save(file)
    file.write_bytes(bent(rng, file.read_bytes(), TOKENS))
    if kind in ("mp4", "mkv"):
        return lambda: redraw(file, folder / "out.mp4", lambda frame: frame, lambda _: None)
    return lambda: (read_image(file), mask_codes(file)) if rng.random() < 0.5 else mask_codes(file)


def tiny() -> RunSpec:
    """A network that is quick to build."""
    return load(ROOT / "specs" / "quickstart.yaml")


def bent(rng: random.Random, content: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """Bytes with some cut, doubled, swapped, overwritten or inserted."""
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        start = rng.randrange(len(content) + 1)
        end = min(start + rng.choice([1, 1, 4, 20, 200]), len(content))
        part = content[start:end]
        flipped = bytes(byte ^ 1 << rng.randrange(8) for byte in part)
        other = rng.choice([b"", part * 2, part[::-1], flipped, rng.choice(tokens), rng.choice(tokens) + part])
        content = content[:start] + other + content[end:]
    return content[: rng.randrange(len(content) + 1)] if rng.random() < 0.1 else content


def changed(rng: random.Random, values: Any) -> Any:
    """Values with one replaced, removed, renamed or doubled anywhere inside."""
    places = list(_places(values))
    holder, key = rng.choice(places) if places else (None, None)
    if holder is None:
        return deepcopy(rng.choice(ODD))
    action = rng.random()
    if action < 0.6:
        holder[key] = deepcopy(rng.choice(ODD))
    elif action < 0.75:
        del holder[key]
    elif isinstance(holder, dict):
        holder[rng.choice([str(key)[::-1], f"{key}s", "x.y", "", "kind"])] = holder[key]
    else:
        holder.extend(holder[:50])
    return values


def _places(values: Any) -> Iterator[tuple[Any, Any]]:
    for key in values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ():
        yield values, key
        yield from _places(values[key])


KINDS: dict[str, tuple[Callable[[random.Random, Path], Callable[[], object]], Limits]] = {
    "specs": (specs, Limits(1, 200)),
    "folders": (folders, Limits(5, 400)),
    "weights": (weights, Limits(1, 200)),
    "pictures": (pictures, Limits(5, 1000)),
}
"""What is tried, with what an answer may take; `folders` draw a report."""

if __name__ == "__main__":
    main(sys.argv[1:])
