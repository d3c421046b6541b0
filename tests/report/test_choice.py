"""The network to take from a run, and what to know about it."""

from __future__ import annotations

import shutil

import pytest

from stdc_search.errors import UserError
from stdc_search.report.bounds import read_bounds
from stdc_search.report.choice import choose
from stdc_search.report.reading import read_results
from stdc_search.spec.base import replace
from tests.report.fakes import machine, record, spec, write_run

GAINS = (10, 16, 21, 25, 28, 30)


def front(**changes):
    """Six networks, slower and more accurate one by one: 20 ms and 30 % to 120 ms and 50 %."""
    return [record(i, 20.0 + gain, 20.0 * (i + 1), **changes) for i, gain in enumerate(GAINS)]


def chosen(folder, *bounds):
    return choose(read_results(folder), read_bounds(bounds))


def doubtful(one):
    return one.model_copy(update={"latency": one.latency.model_copy(update={"steady": False})})


def test_without_a_bound_it_is_the_most_accurate_by_expectation(tmp_path):
    choice = chosen(write_run(tmp_path / "x", front()))
    frame = read_results(tmp_path / "x").frame
    assert choice.number == frame.loc[frame["expected.score.miou"].idxmax(), "number"] == 5
    assert choice.accuracy == frame["expected.score.miou"].max() and choice.interval > 0


@pytest.mark.parametrize(("bound", "number"), [("100ms", 4), ("99.9ms", 3), ("20 ms", 0), ("5GMACs", 3), ("9M", 5)])
def test_a_bound_holds(tmp_path, bound, number):
    assert chosen(write_run(tmp_path / "x", front()), bound).number == number


def test_all_bounds_hold_together(tmp_path):
    assert chosen(write_run(tmp_path / "x", front()), "100ms", "3 GMACs").number == 1


def test_expectation_decides_and_not_the_luckiest_score(tmp_path):
    lucky = record(6, 39.0, 30.0, values=front()[0].values)  # its neighbour and twin has 30 %
    folder = write_run(tmp_path / "x", [*front(), lucky])
    choice = chosen(folder, "40ms")
    frame = read_results(folder).frame.set_index("number")
    fitting = frame[frame["latency.median_ms"] <= 40]
    assert choice.number == fitting["expected.score.miou"].idxmax()
    assert choice.accuracy < 39


def test_a_bound_that_nothing_keeps_names_the_nearest_and_that_bound_works(tmp_path):
    folder = write_run(tmp_path / "x", [record(i, 30.0 + i, 20.00007 * (i + 1)) for i in range(5)])
    with pytest.raises(UserError, match=r"no network has at most 3 ms; the fastest is 0000 with 20\.01 ms"):
        chosen(folder, "3ms")
    assert chosen(folder, "20.01ms").number == 0


def test_bounds_that_nothing_keeps_together_name_the_least_of_each(tmp_path):
    with pytest.raises(
        UserError, match=r"at most 30 ms and at most 1 M parameters; the fastest is .* and the smallest"
    ):
        chosen(write_run(tmp_path / "x", front()), "30ms", "1M")


def test_without_times_a_bound_on_time_says_what_to_do(tmp_path):
    run = replace(spec(objectives={"score.miou": "maximize", "cost.macs": "minimize"}), {"latency": None})
    folder = write_run(tmp_path / "x", front(latency=None), run)
    with pytest.raises(UserError, match=r"no times, since its spec has no section `latency`; .*`--from .*x`"):
        chosen(folder, "30ms")
    assert chosen(folder, "2 GMACs").number == 0
    assert "time" not in str(chosen(folder)).split()


def test_a_network_whose_folder_was_removed_is_not_chosen_but_named(tmp_path):
    folder = write_run(tmp_path / "x", front())
    shutil.rmtree(folder / "networks" / "0005")
    choice = chosen(folder)
    assert choice.number == 4
    assert any("removed from the run folder: 0005" in note for note in choice.notes)
    shutil.rmtree(folder / "networks")
    with pytest.raises(UserError, match="no network can be chosen: their folders were removed"):
        chosen(folder)


def test_a_reference_is_not_chosen_but_named_where_it_fits(tmp_path):
    better = record(9, 70.0, 50.0, origin="reference", name="stdc2", values={})
    folder = write_run(tmp_path / "x", [*front(), better])
    assert chosen(folder, "60ms").number == 2
    assert "More accurate, but outside the search space: STDC2 (70.0 %)" in chosen(folder, "60ms").notes
    assert not any("STDC2" in note for note in chosen(folder, "40ms").notes)


def test_a_doubtful_time_is_named(tmp_path):
    one, *others = front()
    choice = chosen(write_run(tmp_path / "x", [doubtful(one), *others]), "30ms")
    assert "Its time is doubtful: calls kept getting faster" in choice.notes


def test_a_network_that_only_a_doubtful_time_keeps_out_is_named(tmp_path):
    *others, last = front()
    choice = chosen(write_run(tmp_path / "x", [*others, doubtful(last)]), "110ms")
    assert choice.number == 4
    (note,) = [note for note in choice.notes if "doubtful" in note]
    assert note.startswith("More accurate, but whose time is doubtful and above the bound: 0005")


def test_finals_come_first_and_the_search_is_for_what_they_cannot_give(tmp_path):
    run = replace(spec(), {"search.finals": {"networks": 2, "epochs": 80}})
    folder = write_run(tmp_path / "x", front(), run)
    assert "The finals are not trained yet, so this is a guess from short trainings" in chosen(folder).notes
    write_run(folder / "finals", [record(3, 55.0, 80.0), record(4, 52.0, 100.0)], run.finals_run)
    choice = chosen(folder)
    assert (choice.number, choice.spec) == (3, folder / "finals" / "networks" / "0003" / "spec.yaml")
    assert "0003, from the finals of x" in str(choice)
    assert choice.notes == (
        "Not in the finals, though the search expects more of them than of 0003 (45.1 %): 0005 (49.0 %)",
    )
    choice = chosen(folder, "70ms")
    assert (choice.number, choice.spec) == (2, folder / "networks" / "0002" / "spec.yaml")
    assert choice.notes[0].startswith("No network of the finals fits")


def test_times_of_several_machines_are_named(tmp_path):
    first, *others = front()
    run = write_run(
        tmp_path / "x",
        [first, *(one.model_copy(update={"machine": "other"}) for one in others)],
        machines=[machine(), machine("other")],
    )
    assert any("measured on 2 machines" in note for note in chosen(run).notes)


def test_luck_is_named_where_there_is_no_expectation(tmp_path):
    run = spec(objectives={"latency.median_ms": "minimize"})
    choice = chosen(write_run(tmp_path / "x", front(), run))
    assert choice.number == 5 and choice.interval is None
    assert "There are no expected scores, so the score that it was chosen by is partly luck" in choice.notes


def test_a_network_without_a_search_is_its_own_choice(tmp_path):
    folder = write_run(tmp_path / "x", [record(0, origin="base")], spec(search=False))
    choice = chosen(folder, "100ms")
    assert "the network of x" in str(choice) and choice.notes == ()
    with pytest.raises(UserError, match="the fastest is base with 100 ms"):
        chosen(folder, "10ms")


def test_a_network_that_a_limit_bars_is_not_chosen(tmp_path):
    run = replace(spec(), {"search.limits": {"score.miou": {"at_least": 45}}})
    folder = write_run(tmp_path / "x", front(), run)
    with pytest.raises(UserError, match=r"no network has at most 60 ms; the fastest is 000[34] with"):
        chosen(folder, "60ms")


def test_a_run_without_a_finished_network_has_none(tmp_path):
    folder = write_run(tmp_path / "x", [record(0, state="failed", reason="out of memory")])
    with pytest.raises(UserError, match="no network is finished"):
        chosen(folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run folder"):
        chosen(tmp_path)


def test_the_text_has_every_figure_and_what_is_missing(tmp_path):
    text = str(chosen(write_run(tmp_path / "x", front()), "30ms"))
    assert "network        0000, from the search of x" in text
    assert "time           median 20 ms, p95 22 ms" in text
    assert "cost           1.1 GMACs, 8.275 M parameters at 360 × 480" in text
    assert "PyTorch eager to labels, fp32, 2 threads · AMD EPYC 7B13, 2 cores" in text
    assert f"weights {tmp_path / 'x' / 'networks' / '0000' / 'weights.safetensors'} are missing" in text


def test_commands_quote_paths(tmp_path):
    folder = write_run(tmp_path / "a run; rm -rf", front())
    (folder / "networks" / "0000" / "weights.safetensors").touch()
    spec_file = folder / "networks" / "0000" / "spec.yaml"
    assert f"export:  stdc-search export '{spec_file}' '" in str(chosen(folder, "30ms"))
    assert str(chosen(folder, "30ms")).endswith(" IMAGE")
