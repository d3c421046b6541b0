"""What differs between two specs, and in cost."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from stdc_search import count, diff, load
from stdc_search.cli import app
from stdc_search.spec.base import dump, replace
from stdc_search.spec.problems import SpecError
from tests.search_specs import tiny_search


@pytest.fixture
def files(tmp_path):
    one = tiny_search().without_search()
    other = replace(one, {"network.head.width": 16, "image_size": (64, 64), "network.detail": None})
    paths = tmp_path / "one.yaml", tmp_path / "other.yaml"
    for spec, path in zip((one, other), paths, strict=True):
        dump(spec, path)
    return paths


def test_every_path_that_differs_has_both_values(files):
    rows = diff(*files).fields.set_index("field")
    assert rows.columns.tolist() == ["one", "other"]
    assert rows.loc["network.head.width"].tolist() == ["8", "16"]
    assert rows.loc["image_size.0"].tolist() == ["48", "64"]
    assert rows.loc["network.detail", "other"] == "null" and '"width": 4' in rows.loc["network.detail", "one"]
    assert len(rows) == 3


def test_costs_are_exact_at_each_image_size(files):
    found = diff(*files)
    a, b = (count((spec := load(path)).network, spec.image_size) for path in files)
    rows = found.cost.set_index("")
    assert rows.loc["MACs", ["one", "other"]].tolist() == [a.macs, b.macs]
    assert rows.loc["MACs", "ratio"] == b.macs / a.macs
    assert rows.loc["parameters", "change %"] == pytest.approx(100 * (b.parameters - a.parameters) / a.parameters)
    assert [*rows.index] == ["parameters", "MACs"]
    assert found.notes == ("Image sizes: 48 × 64 and 64 × 64; costs are at these",)


def test_equal_specs_do_not_differ_in_whatever_way_they_are_written(files):
    found = diff(files[0], files[0])
    assert found.fields.empty and found.notes == ("The specs do not differ",)
    assert found.cost["ratio"].tolist() == [1.0, 1.0]
    assert diff("specs/stdc1_seg50.yaml", "specs/stdc1_seg50.json").fields.empty


def test_specs_of_one_name_are_told_apart_by_their_run_or_path(files, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "networks" / "0001").mkdir(parents=True)
        dump(load(files[0]), tmp_path / folder / "networks" / "0001" / "spec.yaml")
        dump(load(files[0]), tmp_path / folder / "x.yaml")
    networks = [tmp_path / folder / "networks" / "0001" / "spec.yaml" for folder in "ab"]
    assert diff(*networks).fields.columns.tolist() == ["field", "a_0001", "b_0001"]
    names = diff(tmp_path / "a" / "x.yaml", tmp_path / "b" / "x.yaml").fields.columns.tolist()
    assert names == ["field", str(tmp_path / "a" / "x.yaml"), str(tmp_path / "b" / "x.yaml")]


def test_a_network_of_another_family_can_be_compared():
    found = diff("specs/stdc1_seg50.yaml", "specs/baselines/pidnet_s.yaml")
    assert "network.kind" in found.fields["field"].tolist()


def test_mistakes_of_both_files_are_told_at_once(tmp_path):
    (tmp_path / "a.yaml").write_text("network: {kind: segmentor}\n")
    (tmp_path / "b.yaml").write_text("netwerk: {kind: segmenter}\n")
    with pytest.raises(SpecError, match=r"a\.yaml(.|\n)*b\.yaml"):
        diff(tmp_path / "a.yaml", tmp_path / "b.yaml")


def test_the_command_prints_both_tables(files):
    result = CliRunner().invoke(app, ["diff", *map(str, files)])
    assert result.exit_code == 0
    assert "Fields that differ" in result.output and "change %" in result.output
    alike = CliRunner().invoke(app, ["diff", str(files[0]), str(files[0])])
    assert "Fields that differ" not in alike.output and "The specs do not differ" in alike.output
