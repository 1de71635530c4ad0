"""The journal of a search: each word of optuna on a line of its own, kept whatever happens."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
from optuna.pruners import BasePruner
from optuna.storages.journal import JournalFileBackend, JournalStorage

from lasttoken.durable import telling
from lasttoken.errors import RunError

_NAME = "tune"


class _NoLock:
    """The journal's lock: none, because the folder has one that the system lets go by itself."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def open_study(journal: Path, space: str, pruner: BasePruner) -> optuna.Study:
    """Open the study that a journal holds, or begin it; only one process may do so at a time.

    Args:
        journal: the file.
        space: what is searched, in words: a study goes on only in the same.
        pruner: of its trials.

    Raises:
        RunError: the journal cannot be read or written, or holds another search.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with telling(journal):
        _drop_torn_line(journal)
        try:
            storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=_NoLock()))  # type: ignore[arg-type]
            study = optuna.create_study(
                storage=storage,
                study_name=_NAME,
                load_if_exists=True,
                direction="maximize",
                pruner=pruner,
            )
            if not study.trials:
                study.set_user_attr("space", space)
        except (ValueError, KeyError, TypeError, AssertionError) as error:  # json's, optuna's
            raise RunError(
                f"{journal}: not the journal of a search: {error}",
                expected="the file as lasttoken tune left it",
                remedy="bring it back, or --overwrite to begin anew",
            ) from error
    if study.user_attrs.get("space") != space:
        raise RunError(
            f"{journal}: holds a search of other settings or ranges",
            expected="a search by this version of lasttoken",
            remedy="another --output-dir, or --overwrite to begin anew",
        )
    return study


def _drop_torn_line(journal: Path) -> None:
    """Remove what a killed process wrote of its last line; the next would be glued to it."""
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            file.flush()
            os.fsync(file.fileno())
