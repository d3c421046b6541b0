"""The page of a run, as a browser shows it from disk."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stdc_search.records import Cost, PartCost, Record
from stdc_search.report.page import Extras, write_page
from stdc_search.report.page.content import TimedPart, gather
from stdc_search.report.page.figures import FINAL
from stdc_search.report.plots import SEARCHED
from stdc_search.report.writing import write_report
from stdc_search.run_folder import PAGE
from stdc_search.spec.base import dump, replace
from stdc_search.spec.run import load
from tests.report.fakes import record, spec, write_run, write_sample

EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 1'>\"'&"
PICTURES = ("image", "truth", "prediction")
SIZES = ((390, 844), (1280, 900), (1920, 1080))
CURVE = "epoch,step,loss,learning_rate,score,seconds\n1,10,2.5,0.01,,3\n2,20,2.1,0.005,41.5,3\n"
FOUND = [
    record(0, 45.1, 104.2, origin="start", name="stdc1"),
    record(1, 47.0, 151.3, origin="reference", name=EVIL, values={}),
    *(record(number, 36 + 10 * number / 20, 40 + 6 * number) for number in range(2, 20)),
    record(20, state="rejected", score=None, reason=f"latency.median_ms 300 is above 200 {EVIL}"),
    record(21, state="failed", score=None, reason=EVIL),
    record(22, state="stopped", score=None, rungs={4: record(22, 33.0).score}, reason="stopped after 4 epochs"),
]
PARTS = [
    TimedPart(
        PartCost(
            name=name,
            kind="ConvX",
            output=(8, 4, 4),
            cost=Cost(parameters=1, macs=macs, fvcore_flops=1, paper_flops=1),
        ),
        ms,
    )
    for name, macs, ms in (("backbone.stem.0", 1_000_000, 0.5), ("head", 3_000_000, 1.5))
]
EXTRAS = Extras(lambda _: PARTS, {"score.miou": {"blocks": 0.5, EVIL: 0.25}})

RISING = [record(number, 40.0 + number, 50.0 + 10 * number) for number in range(4)]


def gathered(folder: Path) -> dict[str, Any]:
    return gather(folder, write_report(folder), Extras())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run with finals."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "camvid", FOUND)
    finals = [record(number, miou + 6, 40 + 6 * number) for number, miou in ((10, 41.0), (19, 45.5))]
    write_run(folder / "finals", [record(0, 52.0, 104.2, origin="start", name="stdc1"), *finals])
    for place in folder.rglob("networks/00*"):
        (place / "curve.csv").write_text(CURVE, "utf-8")
    place = folder / "finals/networks/0010"
    write_sample(place / "sample/worst/4")
    with (place / "images.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "name", "miou"), (3, "good", 80), (4, EVIL, 12.34)])
    write_page(folder, write_report(folder), EXTRAS)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return gather(folder, write_report(folder), EXTRAS)


def test_the_networks_of_the_finals_and_of_the_front_are_described(found):
    assert {0, 10, 19} < found["networks"].keys()
    network = found["networks"][10]
    assert network["facts"]["columns"] == ["figure", "finals", "search"]
    assert dict((row[0], row[1:]) for row in network["facts"]["rows"])["mIoU %"] == ["47", "41"]
    assert [curve["where"] for curve in network["curves"]] == ["finals", "search"]
    assert [(part["name"], part["ms"]) for part in network["parts"]] == [("backbone.stem.0", 0.5), ("head", 1.5)]
    assert "image_size" in network["spec"] and network["ious"]["sky"] > 0 and "fence" not in network["ious"]


def test_the_first_sentence_names_the_best_network(found, folder):
    assert re.fullmatch(
        r"The best network of the finals by expected mIoU is .+: mIoU \d+\.\d ± \d+\.\d %, [\d.]+ ms, [\d.]+ GMACs\. "
        rf"For a bound of your own: stdc-search best '?{re.escape(str(folder))}'? --at-most 20ms",
        found["lead"],
    )


@pytest.mark.parametrize("numbers", [(1, 2), (1, 3)])
def test_without_a_best_network_in_the_finals_the_first_sentence_is_about_the_search(numbers, tmp_path):
    """Also if the best one of the search is in the finals."""
    folder = write_run(tmp_path / "run", RISING)
    write_run(folder / "finals", [record(number, 60.0, 50.0 + 10 * number) for number in numbers])
    shutil.rmtree(folder / "finals/networks")
    assert gathered(folder)["lead"].startswith("The best network of the search by expected mIoU is 0003: mIoU 42.7 ± ")


def test_the_first_sentence_tells_if_better_networks_were_removed(tmp_path):
    folder = write_run(tmp_path / "run", RISING)
    shutil.rmtree(folder / "networks/0003")
    assert gathered(folder)["lead"].startswith(
        "The best network of the search by expected mIoU of those that are left is 0002: "
    )


def test_without_an_accuracy_to_maximise_the_first_sentence_names_what_is_minimised(tmp_path):
    folder = write_run(tmp_path / "run", RISING, spec(objectives={"latency.median_ms": "minimize"}))
    assert gathered(folder)["lead"] == "The best network of the search by median ms is 0000: 50 ms, 2.75 GMACs."


def test_the_title_and_the_picture_tell_the_finals_from_the_search(found):
    assert found["title"].endswith(" after 40 epochs; finals after 40 epochs")
    lines = [trace["line"]["color"] for trace in found["figures"]["front"]["data"] if trace.get("mode") == "lines"]
    assert lines == [SEARCHED, FINAL]


def test_every_candidate_is_listed_with_how_it_ended(found):
    states = [row[2] for row in found["candidates"]["rows"]]
    assert len(states) == len(FOUND)
    assert {"finals", "front", "complete", "rejected", "failed", "stopped"} == {*states}
    assert ["rejected", "latency.median_ms is beyond its limit", 1, [20]] in found["rejections"]


def test_photos_and_labels_are_kept_once_for_all_networks(found):
    names = [
        name for network in found["networks"].values() for sample in network["samples"] for name in sample.values()
    ]
    worst = {one[part] for network in found["networks"].values() for one in network["worst"] for part in PICTURES}
    assert len({*names}) < len(names) and {*names} | worst == found["pictures"].keys()
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in found["pictures"].values())


def test_the_worst_images_come_with_their_name_and_score(found):
    assert [one["about"] for one in found["networks"][10]["worst"]] == [f"{EVIL}: 12.3 %"]
    assert found["networks"][19]["worst"] == []


def test_pictures_are_left_out_before_the_page_becomes_large(folder, monkeypatch):
    monkeypatch.setattr("stdc_search.report.page.pictures.PICTURES", 4_000)
    found = gather(folder, write_report(folder), EXTRAS)
    assert sum(map(len, found["pictures"].values())) <= 4_000
    assert any(not network["samples"] for network in found["networks"].values())


def test_plotly_knows_every_property_of_the_pictures(found):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    assert {*found["figures"]} == {"front", "volume", "agreement", "importances"}
    for figure in found["figures"].values():
        graph_objects.Figure(**figure)


@pytest.mark.parametrize("content", [None, b"\x89PNG\r\n\x1a\n damaged"])
def test_what_is_damaged_is_left_out_and_the_rest_is_shown(content, tmp_path):
    folder = write_run(tmp_path / "run", RISING)
    for number in range(4):
        place = folder / f"networks/{number:04d}"
        (place / "curve.csv").write_text(CURVE, "utf-8")
        (place / "images.csv").write_text("image,name,miou\n4,a,12\n", "utf-8")
        write_sample(place / "sample/worst/4")
    for number, name in enumerate(("sample/50/truth.png", "curve.csv", "spec.yaml", "images.csv")):
        damaged = folder / f"networks/{number:04d}" / name
        damaged.write_bytes(content) if content is not None else damaged.unlink()
    networks = gathered(folder)["networks"]
    parts = ("samples", "curves", "spec", "worst")
    assert [[bool(networks[number][part]) for part in parts] for number in range(4)] == [
        [lost != part for part in parts] for lost in parts
    ]


def test_a_curve_with_a_loss_that_is_no_number_is_drawn_with_a_gap(tmp_path):
    folder = write_run(tmp_path / "run", RISING)
    (folder / "networks/0002/curve.csv").write_text(CURVE + "3,30,nan,0.1,,3\n", "utf-8")
    (curve,) = gathered(folder)["networks"][2]["curves"]
    assert curve["loss"] == [2.5, 2.1, None]


def test_curves_are_those_of_all_trainings_of_a_network(tmp_path):
    again = record(4, 48.0, 80.0, repeats=3, values=RISING[3].values)
    folder = write_run(tmp_path / "run", [*RISING, again])
    repeat = load(folder / "networks/0004/spec.yaml")
    dump(replace(repeat, {"training.seeds": [1]}), folder / "networks/0004/spec.yaml")
    for number in (3, 4):
        (folder / f"networks/{number:04d}/curve.csv").write_text(CURVE, "utf-8")
    assert [curve["seed"] for curve in gathered(folder)["networks"][3]["curves"]] == [0, 1]


def test_only_a_completed_repeat_is_listed_as_one(tmp_path):
    values = RISING[3].values
    failed = record(5, state="failed", score=None, repeats=3, values=values, reason="the loss is nan")
    folder = write_run(tmp_path / "run", [*RISING, record(4, 48.0, 80.0, repeats=3, values=values), failed])
    assert [row[2] for row in gathered(folder)["candidates"]["rows"]][4:] == ["repeat", "failed"]


def test_of_more_networks_than_are_described_the_best_and_the_named_ones_are(tmp_path, monkeypatch):
    monkeypatch.setattr("stdc_search.report.page.content.DETAILED", 2)
    found = gathered(write_run(tmp_path / "run", [*RISING, record(9, 30.0, 9000.0, origin="start", name="stdc1")]))
    assert found["networks"].keys() == {found["best"], 9} == {3, 9}


def with_class(one: Record, name: str, iou: float) -> Record:
    return one.model_copy(update={"score": one.score.model_copy(update={"iou": {name: iou, "b": 20.0}})})


def test_an_objective_that_is_the_iou_of_a_class_is_among_the_figures(tmp_path):
    run = spec(objectives={"score.iou.car": "maximize", "latency.median_ms": "minimize"})
    folder = write_run(tmp_path / "run", [with_class(one, "car", 30.0 + 3 * one.number) for one in RISING], run)
    figures = dict(gathered(folder)["networks"][3]["facts"]["rows"])
    assert " ± " in figures["expected car IoU %"] and figures["car IoU %"] == "39"


def test_a_class_of_any_name_is_text_in_every_picture(tmp_path):
    name = r"$\foo$<b>"
    objectives = {f"score.iou.{name}": "maximize", "latency.median_ms": "minimize"}
    data = {"kind": "folder", "root": "/x", "class_names": [name, "b"]}
    changes = {"data": data, "network.classes": 2, "search.objectives": objectives}
    run = replace(spec(), changes)
    folder = write_run(tmp_path / "run", [with_class(one, name, 30.0 + one.number) for one in RISING], run)
    write_run(folder / "finals", [with_class(one, name, 30.0 + one.number) for one in RISING], run)
    found = gather(folder, write_report(folder), Extras(importances={f"score.iou.{name}": {"head": 1.0}}))
    assert {*found["figures"]} == {"front", "volume", "agreement", "importances"}
    assert r"$\foo$&lt;b&gt;" in json.dumps(found["figures"]).replace("\\\\", "\\")
    assert "<b>, %" not in json.dumps(found["figures"])


def test_bars_of_the_finals_are_those_of_their_score(tmp_path):
    run = spec(objectives={"score.boundary_f": "maximize", "latency.median_ms": "minimize"})

    def bounded(one: Record) -> Record:
        its = {"boundary_f": 60.0 + one.number, "seed_miou": (30.0, 50.0)}
        return one.model_copy(update={"score": one.score.model_copy(update=its)})

    found = [bounded(one) for one in RISING]
    folder = write_run(tmp_path / "run", found, run)
    write_run(folder / "finals", found[2:], run)
    assert gathered(folder)["figures"]["agreement"]["data"][0]["error_y"]["array"] == [0, 0]


def test_a_classifier_is_not_offered_to_label_photos(tmp_path):
    for run, offered in ((spec(search=False), True), (load("small_classifier"), False)):
        folder = write_run(tmp_path / run.network.task, [record(0, origin="base", values={}, score=None)], run)
        shutil.rmtree(folder / "networks/0000/sample")
        (folder / "networks/0000/weights.safetensors").touch()
        assert ("label photos" in gathered(folder)["networks"][0]["commands"]) == offered


def test_commands_are_safe_to_paste(tmp_path):
    folder = write_run(tmp_path / "my run; echo", [record(0)])
    commands = gather(folder, write_report(folder), Extras())["networks"][0]["commands"]
    assert shlex.split(commands["time it"]) == ["stdc-search", "time", str(folder / "networks" / "0000" / "spec.yaml")]


def test_predicted_times_are_marked_beside_measured_ones(tmp_path):
    guessed = record(1, 44.0, 50.0)
    guessed = guessed.model_copy(update={"latency": guessed.latency.model_copy(update={"source": "predicted"})})
    folder = write_run(tmp_path / "run", [record(0, 45.0, 60.0), guessed])
    front = gather(folder, write_report(folder), Extras())["figures"]["front"]
    (trace,) = (trace for trace in front["data"] if trace["name"] == "on the front")
    marks = dict(zip(trace["customdata"], trace["marker"]["symbol"], strict=True))
    assert marks == {0: "circle", 1: "circle-dot"}


def test_kinds_of_candidates_are_told_apart(found):
    dots = [trace for trace in found["figures"]["front"]["data"] if "marker" in trace]
    names = [trace["name"] for trace in dots]
    assert {"on the front", "trained, not on the front", "finals", "failed"} < {*names}
    looks = [str((trace["marker"]["symbol"], trace["marker"]["color"])) for trace in dots]
    assert len({*looks}) == len(looks)


def test_the_hypervolume_grows_to_all_of_it(found):
    (trace,) = found["figures"]["volume"]["data"]
    assert trace["y"][0] == 0 and trace["y"][-1] == pytest.approx(100)
    assert all(a <= b for a, b in itertools.pairwise(trace["y"]))


def test_a_run_without_search_or_training_gets_a_page_too(tmp_path):
    folder = write_run(tmp_path / "one", [record(0, origin="base", values={})], spec(search=False))
    page = write_page(folder, write_report(folder), Extras())
    assert '"front": {' not in page.read_text("utf-8") and "base" in page.read_text("utf-8")


@pytest.mark.slow
def test_two_thousand_candidates_fit_into_ten_megabytes(tmp_path):
    records = [record(number, 30 + 20 * (number % 97) / 97, 20 + number % 311) for number in range(2_000)]
    folder = write_run(tmp_path / "large", records[:1])
    (folder / "results.jsonl").write_text("\n".join(one.model_dump_json() for one in records) + "\n", "utf-8")
    page = write_page(folder, write_report(folder), Extras())
    assert page.stat().st_size < 10_000_000


# In a browser


@pytest.fixture(scope="module")
def browser():
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])


@contextmanager
def opened(browser, folder: Path, scheme: str = "light"):
    """The page from disk, once it has drawn all; nothing may go wrong in it, and it may ask for nothing else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page, wrong, asked = context.new_page(), [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url) if not request.url.startswith("data:") else None)
    page.set_default_timeout(120_000)  # of a busy machine
    page.goto((folder / PAGE).as_uri())
    page.wait_for_selector("#front .main-svg")
    page.wait_for_selector("#candidates table")
    yield page
    assert page.evaluate("window.evil") is None
    assert wrong == [] and asked == [(folder / PAGE).as_uri()]
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_every_screen_in_light_and_dark(browser, folder, scheme):
    with opened(browser, folder, scheme=scheme) as page:
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        colours = page.evaluate("['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name])")
        dark = [sum(map(int, re.findall(r"\d+", colour)[:3])) < 380 for colour in colours]
        assert dark == ([True, False] if scheme == "dark" else [False, True])
        drawn = page.evaluate("document.getElementById('front')._fullLayout.font.color")
        assert drawn == page.evaluate("colour('--ink')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_people_who_cannot_see_well_can_use_the_page(browser, folder, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with opened(browser, folder, scheme=scheme) as page:
        found = axe.Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]
    told = [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in found]
    assert told == [], json.dumps(told, indent=1)


PLACE = """(name) => {
    const front = document.getElementById("front");
    const trace = front.data.find((trace) => trace.name === name);
    const { xaxis, yaxis, _size } = front._fullLayout;
    const { left, top } = front.getBoundingClientRect();
    const x = left + _size.l + xaxis.d2p(trace.x[0]), y = top + _size.t + yaxis.d2p(trace.y[0]);
    return [trace.customdata[0], x, y];
}"""
"""Number of the first network of a trace, and where it is on the screen."""


def test_a_dot_tells_its_network_and_a_click_selects_it(browser, folder):
    with opened(browser, folder) as page:
        page.locator("#front").scroll_into_view_if_needed()
        number, x, y = page.evaluate(PLACE, "finals")
        page.mouse.move(x, y)
        page.wait_for_selector("#front .hoverlayer .hovertext")
        assert "mIoU" in page.locator("#front .hoverlayer").text_content()
        page.mouse.click(x, y)
        page.wait_for_function("(number) => document.getElementById('network').value === number", arg=str(number))


def test_a_dot_that_is_not_described_leads_to_its_row_alone(browser, folder):
    with opened(browser, folder) as page:
        page.locator("#state").select_option("complete")
        page.evaluate("select('20', true)")
        assert page.locator("#count").inner_text() == f"1 of {len(FOUND)}"
        assert page.locator("#candidates tbody td").first.inner_text() == "20"


def test_networks_are_selected_filtered_and_sorted_by_keyboard(browser, folder):
    with opened(browser, folder) as page:
        page.locator("#tables td button").last.focus()
        wanted = str(int(page.evaluate("document.activeElement.textContent")))
        page.keyboard.press("Enter")
        assert page.evaluate("document.getElementById('network').value") == wanted
        page.locator("#filter").focus()
        page.keyboard.type("stopped")
        assert page.locator("#count").inner_text() == f"1 of {len(FOUND)}"
        page.locator("#filter").fill("")
        page.locator("#state").select_option("complete")
        header = page.locator("#candidates th", has_text="mIoU")
        for order in ("ascending", "descending"):
            header.locator("button").press("Enter")
            assert header.get_attribute("aria-sort") == order
            column = page.evaluate(
                "[...document.querySelectorAll('#candidates tbody tr')].map((row) => +row.children[3].textContent)"
            )
            assert column == sorted(column, reverse=order == "descending")


def test_a_spec_and_commands_are_copied(browser, folder):
    with opened(browser, folder) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        button = page.locator(".command .copy").first
        command = page.locator(".command pre").first.inner_text()
        button.click()
        # The button says so for a moment only, which a busy machine may miss.
        page.wait_for_function("(text) => navigator.clipboard.readText().then((found) => found === text)", arg=command)


def test_pictures_of_the_selected_network_are_drawn(browser, folder):
    with opened(browser, folder) as page:
        widths = "[...document.querySelectorAll('.samples img')].map((picture) => picture.naturalWidth)"
        page.wait_for_function(f"{widths}.length >= 3 && {widths}.every((width) => width > 0)")


def test_text_of_people_is_shown_as_text(browser, folder):
    with opened(browser, folder) as page:
        assert EVIL in page.locator("#candidates").inner_text()
        assert page.locator("#candidates img").count() == 0
