"""A run's model folder, with its model card, to the Hugging Face Hub.

Files go by name, from a list: what is not on it stays. So predictions, reports and data cannot be
pushed, whatever lies in the folder. In `lasttoken.json` paths of this machine are cut to their last
part, as they are in the model card.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lasttoken.config import PushConfig
from lasttoken.data.hub import HUB_ID, ask_briefly
from lasttoken.data.samples import SAMPLE_DATA, SAMPLE_MODELS
from lasttoken.data.tables import FORMAT_OF
from lasttoken.errors import BackboneError, ConfigError, RunError
from lasttoken.events import EventCallback, Note, Progress
from lasttoken.model.inspection import inspect_folder, read_json
from lasttoken.model.location import model_folder
from lasttoken.model.record import RECORD_NAME, read_labels

CARD_NAME = "README.md"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_GOES = (
    CARD_NAME, "LICENSE*", "NOTICE*", "config.json", "generation_config.json", RECORD_NAME,
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", *_WEIGHTS,
)  # fmt: skip
_MADE_BY_HUB = ".gitattributes"  # all that a new repository holds
_PATHS = ("data", "model", "validation", "test", "output_dir")  # settings that may hold one


@dataclass(frozen=True)
class PushFile:
    """A file that goes.

    Attributes:
        name: in the repository.
        content: bytes made for it, or where they are.
        size: in bytes.
    """

    name: str
    content: Path | bytes
    size: int


@dataclass(frozen=True)
class PushPlan:
    """What a push would do.

    Attributes:
        folder: the model folder.
        name: of the repository.
        is_private: whether only its owner will see it.
        files: that go, by name.
        stay: names in the folder that do not.
    """

    folder: Path
    name: str
    is_private: bool
    files: tuple[PushFile, ...]
    stay: tuple[str, ...]

    @property
    def has_card(self) -> bool:
        """Return whether a model card goes with it."""
        return any(file.name == CARD_NAME for file in self.files)


def plan_push(config: PushConfig) -> PushPlan:
    """Decide which files go; nobody is asked, nothing is written.

    Raises:
        RunError: there is no model.
        BackboneError: it is no classifier, is unsafe to load, or a file is a link.
        ConfigError: the Hub has no such names.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    folder = model_folder(config.run)
    try:
        validate_repo_id(config.name)
    except HFValidationError as error:
        raise ConfigError(
            f"{config.name}: {str(error).splitlines()[0]}",
            expected="OWNER/NAME, or NAME of your own, of letters, digits, '-', '_' and '.'",
            remedy="lasttoken push " + config.run + " my-classifier",
        ) from error
    inspect_folder(folder)
    if read_labels(folder) is None:
        raise BackboneError(
            f"{folder}: a language model without a trained classification head",
            expected="a classifier",
            remedy="train one first: lasttoken train DATA",
        )
    files, stay = [], []
    for path in sorted(folder.iterdir()):
        if not path.is_file() or not any(fnmatch.fnmatch(path.name, name) for name in _GOES):
            stay.append(path.name + "/" * path.is_dir())
        elif path.is_symlink():
            raise BackboneError(
                f"{path}: a link to {os.readlink(path)}",
                expected="the files themselves, so that what goes is what lies in the folder",
                remedy=f"cp -rL {folder} COPY, then push the copy",
            )
        else:
            content = _without_paths(path) if path.name == RECORD_NAME else path
            size = len(content) if isinstance(content, bytes) else path.stat().st_size
            files.append(PushFile(path.name, content, size))
    return PushPlan(folder, config.name, config.private, tuple(files), tuple(stay))


def push(plan: PushPlan, config: PushConfig, *, on_event: EventCallback) -> str:
    """Make the repository and put all files there in one commit.

    Returns:
        The address of the model's page.

    Raises:
        RunError: offline, no token, the Hub refuses it or cannot be reached; or the repository
            holds files already and `overwrite` is False, or is public and should be private.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    token = _token()
    api = HfApi(token=token)
    _check_token(api)
    if not plan.has_card:
        on_event(Note("no model card (README.md) goes with it", is_warning=True))
    total = sum(file.size for file in plan.files)
    on_event(Progress("push", 0, total, "bytes", plan.name))
    shown = not os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS")
    disable_progress_bars()
    try:
        repository, there = _make_repository(
            api, plan, may_exist=config.overwrite, on_event=on_event
        )
        operations: list[Any] = [
            CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.content)
            for file in plan.files
        ]
        if config.overwrite:
            operations += [
                CommitOperationDelete(path_in_repo=name) for name in there if _is_stale(name, plan)
            ]
        _asked(
            lambda: api.create_commit(
                repository, operations, commit_message="Classifier made with lasttoken"
            ),
            plan,
        )
    finally:
        if shown:
            enable_progress_bars()
    on_event(Progress("push", total, total, "bytes", plan.name))
    return f"{api.endpoint}/{repository}"


def _without_paths(path: Path) -> bytes:
    """Return the record of a model folder; of paths of this machine the last part is left."""
    record = read_json(path)
    settings = record.get("settings")
    if isinstance(settings, dict):
        for name in _PATHS:
            if isinstance(settings.get(name), str):
                settings[name] = _last_part(settings[name])
    if isinstance(record.get("model"), str):
        record["model"] = _last_part(record["model"])
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()


def _last_part(value: str) -> str:
    """Return a path's last part; names of the Hub and of samples, and fractions, as they are."""
    if value in SAMPLE_DATA or value in SAMPLE_MODELS:
        return value
    is_path = (
        not HUB_ID.fullmatch(value)
        or value.startswith(".")
        or Path(value).suffix.lower() in {*FORMAT_OF, ".gguf"}
        or Path(value).expanduser().exists()
    )
    return os.path.basename(value.rstrip("/\\").replace("\\", "/")) if is_path else value


def _is_stale(name: str, plan: PushPlan) -> bool:
    """Return whether weights of an earlier model would lie beside the new ones."""
    own = {file.name for file in plan.files}
    return name not in own and any(fnmatch.fnmatch(name, pattern) for pattern in _WEIGHTS)


def _token() -> str:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise RunError(
            "push: HF_HUB_OFFLINE is set, so the Hub is not asked",
            expected="a connection to the Hub",
            remedy="unset HF_HUB_OFFLINE; --dry-run shows what would go without a connection",
        )
    token = get_token()
    if token is None:
        raise RunError(
            "push: no token of the Hub on this machine",
            expected="a token that may write, in HF_TOKEN or saved by `hf auth login`",
            remedy="hf auth login; --dry-run shows what would go without one",
        )
    return token


def _check_token(api: Any) -> None:  # noqa: ANN401 - `HfApi`, imported late
    """Ask who is calling, once: a wrong token or no connection is told within seconds."""
    from huggingface_hub.errors import HfHubHTTPError

    fault = ask_briefly(api.whoami)
    if fault is None:
        return
    if isinstance(fault, HfHubHTTPError) and fault.response.status_code in (401, 403):
        raise RunError(
            f"push: {api.endpoint} does not accept the token",
            expected="a token that may write",
            remedy="make a new one on the Hub, then hf auth login",
        ) from fault
    reason = (str(fault) or type(fault).__name__).splitlines()[0]
    raise RunError(
        f"push: {api.endpoint} cannot be reached ({reason})",
        expected="a connection to the Hub",
        remedy="the same command where there is one; --dry-run shows what would go",
    ) from fault


def _make_repository(
    api: Any,  # noqa: ANN401 - `HfApi`, imported late
    plan: PushPlan,
    *,
    may_exist: bool,
    on_event: EventCallback,
) -> tuple[str, tuple[str, ...]]:
    """Make the repository, or take one that is empty: an earlier push may have ended behind this.

    Returns:
        Its full name, and the files that it holds.

    Raises:
        RunError: it holds files and `may_exist` is False; or it is public and should be private.
    """
    made = _asked(lambda: api.create_repo(plan.name, private=plan.is_private, exist_ok=True), plan)
    repository = str(made.repo_id)
    there = _asked(lambda: api.model_info(repository), plan)
    names = tuple(str(file.rfilename) for file in there.siblings or ())
    if set(names) - {_MADE_BY_HUB} and not may_exist:
        raise RunError(
            f"push: {repository} is on the Hub already",
            expected="a new name",
            remedy="another NAME, or --overwrite, which adds a commit to it",
        )
    if plan.is_private and there.private is False:
        raise RunError(
            f"push: {repository} is public on the Hub",
            expected="a private repository",
            remedy="make it private in its settings on the Hub, or leave --private out",
        )
    if there.private and not plan.is_private:
        on_event(Note(f"{repository} is private on the Hub, and stays so"))
    return repository, names


def _asked(question: Callable[[], Any], plan: PushPlan) -> Any:  # noqa: ANN401 - the Hub's own
    """Return the Hub's answer, or raise its refusal as three lines."""
    try:
        return question()
    except RunError:
        raise
    except Exception as error:  # whatever the transport raises, the remedy is the same
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(
            f"push: {plan.name}: {reason}",
            expected="a repository that your token may write, and a connection",
            remedy="the same command again; what arrived is not sent twice",
        ) from error
