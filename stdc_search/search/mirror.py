"""A copy of the study in a database, for Optuna's own tools such as optuna-dashboard. A run never reads it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from stdc_search.records import Record
from stdc_search.search.study import Study
from stdc_search.spec.base import UserError

RUN = "run"
"""Attribute of a study that says whose it is."""


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
        self.file = None if study.search.storage else self.folder / "study.db"
        self.url = study.search.storage or f"sqlite:///{self.file}"
        self.storage: RDBStorage | None = None
        self.copy: optuna.Study | None = None
        self.there: set[int] = set()
        if self.file is None:
            try:
                self._open_theirs()
            except UserError:
                self.close()
                raise

    def add(self, records: Sequence[Record]) -> None:
        """Add what is missing. A damaged file is made anew; a server that is away gets it once it is back."""
        try:
            self._add(records)
        except Exception as error:  # Optuna and what it stands on raise almost anything
            self.close()
            if self.file is None:
                message = f"`search.storage` {self._shown} has not got all trials, until it is back: {_brief(error)}"
                warnings.warn(message, stacklevel=2)
            else:
                self.file.unlink(missing_ok=True)
                self._add(records)

    def rewrite(self, records: Sequence[Record]) -> None:
        """Write everything anew, since some records have changed."""
        try:
            copy = self.copy or self._open()
            assert self.storage is not None
            self.storage.delete_study(copy._study_id)
        except Exception:  # `add` tells, or mends it
            pass
        self.close()
        self.add(records)

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
                "pip install 'stdc-search[postgres]'"
            ) from None
        except Exception as error:
            raise UserError(f"`search.storage` {self._shown} cannot be used: {_brief(error)}") from None
        if (owner := copy.user_attrs.get(RUN)) != str(self.folder):
            raise UserError(
                f"`search.storage` {self._shown} has a study {copy.study_name!r} of another run, {owner}; give --out a "
                f"folder of another name, or, if that run was moved: optuna delete-study --study-name {copy.study_name}"
            )

    def _open(self) -> optuna.Study:
        self.storage = RDBStorage(self.url)
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
        self.there = {trial.user_attrs["record"] for trial in copy.get_trials(deepcopy=False)}
        self.copy = copy
        return copy

    def _add(self, records: Sequence[Record]) -> None:
        copy = self.copy or self._open()
        for record in records:
            if record.origin != "reference" and record.number not in self.there:
                copy.add_trial(self.study.readable(record))
                self.there.add(record.number)

    @property
    def _shown(self) -> str:
        try:
            return make_url(self.url).render_as_string(hide_password=True)
        except SQLAlchemyError:
            return self.url


def _brief(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
