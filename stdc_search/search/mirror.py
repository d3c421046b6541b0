"""A copy of the study in a database, for Optuna's own tools such as optuna-dashboard. A run never reads it."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from stdc_search.errors import UserError, brief
from stdc_search.records import Record
from stdc_search.run_folder import STUDY
from stdc_search.search.study import Study

RUN = "run"
"""Attribute of a study that says whose it is."""
PATIENCE = 60.0
"""Seconds for which a database that has failed is left alone."""
KEYS = text(
    "SELECT trials.trial_id, attribute.key, attribute.value_json FROM trials "
    "LEFT JOIN trial_user_attributes AS attribute "
    "ON attribute.trial_id = trials.trial_id AND attribute.key IN ('record', 'started') "
    "WHERE trials.study_id = :study ORDER BY trials.trial_id"
)
"""Reads two attributes of all trials of a study."""
HANGS = {
    "connect_timeout": 10,
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": "-c statement_timeout=30s",
}
"""PostgreSQL's settings, without which a host that is gone would be waited for: s, but the second in ms. A process
that is frozen on a living host is waited for all the same."""


class Mirror:
    """The study of one run, under the name of its folder: in its `study.db`, or where `search.storage` says.

    Args:
        study: the search.
        folder: the run's.

    Raises:
        UserError: the database of `search.storage` cannot be used.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder = study, folder.absolute()
        self.file = None if study.search.storage else self.folder / STUDY
        self.url = study.search.storage or f"sqlite:///{self.file}"
        self.storage: RDBStorage | None = None
        self.copy: optuna.Study | None = None
        self.there: set[int | None] = set()
        self.rests_until = 0.0
        if self.file is None:
            try:
                self._open_theirs()
            except UserError:
                self.close()
                raise

    def add(self, records: Sequence[Record], *, last: bool = False) -> None:
        """Add missing trials. A damaged file is written again; an unwritable database gets them once it can be written.

        Args:
            records: all that there are.
            last: whether there will be no other time, so that a database that has just failed is tried all the same.
        """
        if time.monotonic() < self.rests_until and not last:
            return
        try:
            try:
                self._add(records)
            except Exception as error:  # Optuna and what it stands on raise almost anything
                self.close()
                if self.file is None or _passes(error):
                    raise
                self.file.unlink(missing_ok=True)
                self._add(records)
        except Exception as error:
            self.close()
            self.rests_until = time.monotonic() + PATIENCE
            whose = self.file or f"`search.storage` {self._shown}"
            warnings.warn(f"{whose} lacks some trials until it can be written: {_root(error)}", stacklevel=2)

    def rewrite(self, records: Sequence[Record]) -> None:
        """Write everything again, because some records have changed."""
        if self.file is not None:
            self.close()
            self.file.unlink(missing_ok=True)
        else:
            try:
                self.storage = self.storage or self._connect()
                optuna.delete_study(study_name=self.folder.name, storage=self.storage)
            except Exception as error:
                message = (
                    f"`search.storage` {self._shown} contains predicted times beside measured ones: {_root(error)}"
                )
                warnings.warn(f"{message}; to write it again: {self._deletion}", stacklevel=2)
            self.close()
        self.add(records, last=True)

    def close(self) -> None:
        """Let go of the database."""
        if self.storage is not None:
            self.storage.engine.dispose()
        self.storage, self.copy = None, None

    def _open_theirs(self) -> None:
        try:
            copy = self._open()
        except ImportError:
            raise UserError(
                f"`search.storage` {self._shown} needs the database's Python package; for PostgreSQL, type: "
                "pip install 'psycopg[binary]'"
            ) from None
        except Exception as error:
            raise UserError(f"`search.storage` {self._shown} cannot be used: {_root(error)}") from None
        owner = copy.user_attrs.get(RUN, "not written by this program")
        if owner == str(self.folder) and not self._is_ours(copy):
            owner = f"an earlier one in {owner}"
        if owner != str(self.folder):
            raise UserError(
                f"`search.storage` {self._shown} has a study {copy.study_name!r} of another run, {owner}; give --out a "
                f"folder with another name, or, if that run is gone: {self._deletion}"
            )

    def _is_ours(self, copy: optuna.Study) -> bool:
        """Whether all its trials belong to this run's records; an earlier run may have used the folder."""
        ours = {(record.number, record.started) for record in self.study.records.values()}
        return {*self._keys(copy)} <= ours

    def _keys(self, copy: optuna.Study) -> list[tuple[int | None, str | None]]:
        """Of each trial, what tells the records of all runs apart; None, None if another program wrote it.

        Optuna would read all of every trial, which takes seconds for thousands.
        """
        assert self.storage is not None
        study = self.storage.get_study_id_from_name(copy.study_name)
        with self.storage.engine.connect() as connection:
            rows = connection.execute(KEYS, {"study": study}).all()
        found: dict[int, dict[str | None, Any]] = {}
        for trial, key, value in rows:
            found.setdefault(trial, {})[key] = value and json.loads(value)
        return [(one.get("record"), one.get("started")) for one in found.values()]

    def _connect(self) -> RDBStorage:
        url = make_url(self.url)
        settings: dict[str, Any] = {}
        if url.drivername in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
            settings["connect_args"] = {name: value for name, value in HANGS.items() if name not in url.query}
        elif url.get_backend_name() == "sqlite":
            settings["poolclass"] = NullPool  # else a damaged file stays open
        return RDBStorage(self.url, engine_kwargs=settings)

    def _open(self) -> optuna.Study:
        self.storage = self._connect()
        names = {summary.study_name for summary in self.storage.get_all_studies()}
        directions = list(self.study.search.objectives.values())
        copy = optuna.create_study(
            study_name=self.folder.name, storage=self.storage, directions=directions, load_if_exists=True
        )
        if self.folder.name not in names:
            copy.set_user_attr(RUN, str(self.folder))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                copy.set_metric_names(list(self.study.search.objectives))
        self.there = {number for number, _ in self._keys(copy)}
        self.copy = copy
        return copy

    def _add(self, records: Sequence[Record]) -> None:
        if (copy := self.copy) is None:
            copy = self._open()
            if not self._is_ours(copy):
                raise LookupError(f"it has trials of another run in {self.folder}")
        for record in records:
            if record.origin != "reference" and record.number not in self.there:
                copy.add_trial(self.study.readable(record))
                self.there.add(record.number)

    @property
    def _deletion(self) -> str:
        return f"optuna delete-study --storage '{self._shown}' --study-name '{self.folder.name}'"

    @property
    def _shown(self) -> str:
        try:
            return make_url(self.url).render_as_string(hide_password=True)
        except SQLAlchemyError:
            return self.url


def _passes(error: BaseException) -> bool:
    """Whether nothing is wrong with a file that cannot be written now: the disk is full, or someone else has it."""
    return any(isinstance(one, OperationalError | OSError) for one in _chain(error))


def _root(error: BaseException) -> str:
    """The database's own error message."""
    return brief(_chain(error)[-1])


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it was raised from."""
    return [error, *(_chain(error.__cause__) if error.__cause__ else [])]
