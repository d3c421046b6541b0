"""Optuna's studies in databases, as other programs see them."""

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.storages import RDBStorage


@contextmanager
def stored(name: str, url: str) -> Iterator[optuna.Study]:
    """A study, whose connection is closed afterwards: Python 3.13 warns of one that is not."""
    storage = RDBStorage(url)
    try:
        yield optuna.load_study(study_name=name, storage=storage)
    finally:
        storage.engine.dispose()
