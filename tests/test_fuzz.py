"""A short form of `make fuzz`: every answer to a damaged file is a value or an error of this package."""

import pytest

from benchmarks import fuzz


@pytest.mark.parametrize(("kind", "cases"), [("specs", 150), ("weights", 30), ("pictures", 50), ("folders", 3)])
def test_damaged_files_give_values_or_errors_of_the_package(kind, cases, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "KEPT", tmp_path)
    monkeypatch.setattr(fuzz, "CHUNK", cases)
    make, _ = fuzz.KINDS[kind]
    monkeypatch.setitem(fuzz.KINDS, kind, (make, fuzz.Limits(60, 4000)))  # times and memory are for a quiet machine
    found, _, _ = fuzz.chunk(kind, 0, cases)
    wrong = [path.read_text("utf-8") for path in tmp_path.rglob("wrong.txt")]
    assert not wrong, wrong[0]
    assert sum(found.values()) == cases and found["errors of the package"] > 0


def test_what_is_neither_is_kept_with_its_reason(tmp_path, monkeypatch):
    def make(rng, folder):
        (folder / "x").write_text("damaged")

        def use():
            raise KeyError("lost")

        return use

    monkeypatch.setattr(fuzz, "KEPT", tmp_path)
    monkeypatch.setattr(fuzz, "CHUNK", 2)
    monkeypatch.setitem(fuzz.KINDS, "specs", (make, fuzz.Limits(60, 4000)))
    assert fuzz.chunk("specs", 0, 2)[0] == {"wrong": 2}
    assert (tmp_path / "specs-1" / "x").read_text() == "damaged"
    assert "KeyError: 'lost'" in (tmp_path / "specs-1" / "wrong.txt").read_text()
