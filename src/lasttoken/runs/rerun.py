"""`lasttoken rerun`: repeat a finished run from its record, and compare the weights.

    RUN/run.json  ->  the settings, in full  ->  `run_training` into RUN-rerun  ->  SHA-256 of both

What the run read must be what it was; that is looked at before training. On the same machine the
same weights come out, to the last bit; where versions or machine differ, that is told first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lasttoken.config import RerunConfig, TrainConfig
from lasttoken.errors import BackboneError, ConfigError, DatasetError, RunError
from lasttoken.events import Event, EventCallback, Note, Progress
from lasttoken.launch import world_size
from lasttoken.runs.preflight import locate_inputs
from lasttoken.runs.record import read_record, run_status, settings_of
from lasttoken.runs.recorded import finished_record, recorded_config, weights_files_sha256

if TYPE_CHECKING:
    from lasttoken.runs.examples import RunExamples
    from lasttoken.runs.train import TrainOutcome


@dataclass(frozen=True)
class RerunPlan:
    """A run that can be repeated.

    Attributes:
        run: its folder.
        record: its `run.json`.
        config: the settings that repeat it, in a folder of their own.
    """

    run: Path
    record: Mapping[str, Any]
    config: TrainConfig


@dataclass(frozen=True)
class RerunOutcome:
    """What repeating a run gave.

    Attributes:
        run: the folder of the run that was repeated.
        training: what the new run left.
        weights_before: file name to SHA-256 (hex) of the run's weights.
        weights_now: likewise of the new run's.
        reasons: what differs between the two runs and may explain other weights.
    """

    run: Path
    training: TrainOutcome
    weights_before: Mapping[str, str]
    weights_now: Mapping[str, str]
    reasons: tuple[str, ...]

    @property
    def is_identical(self) -> bool:
        """Return whether the weights are the same, byte for byte."""
        return self.weights_before == self.weights_now


def plan_rerun(config: RerunConfig) -> RerunPlan:
    """Read a run's record, and check that what it names is there; write nothing, load no torch.

    Raises:
        RunError: there is no finished run, the output folder is occupied or lies in the run's
            own, or data, model or a setting cannot be had as it was.
    """
    run = Path(config.run).expanduser()
    record = finished_record(run)
    train = dataclasses.replace(
        recorded_config(run, record),
        output_dir=str(_output_folder(run, config.output_dir)),
        overwrite=config.overwrite,
    )
    with _telling(run):
        locate_inputs(train)
    return RerunPlan(run, record, train)


def run_rerun(
    plan: RerunPlan, *, command: Sequence[str], on_event: EventCallback
) -> RerunOutcome | None:
    """Repeat a run with as many threads as it had, and compare the weights.

    Args:
        plan: by `plan_rerun`.
        command: the words that started this, for the record.
        on_event: hears all there is to tell.

    Returns:
        The comparison; None in all but the main one of several processes.

    Raises:
        StoppedError: a signal asked to stop, and all is saved; the same again goes on.
        LastTokenError: data or model have changed since the run.
    """
    import torch

    from lasttoken.runs.resume import changed_inputs, changed_surroundings
    from lasttoken.runs.train import run_training

    run, record, config = plan.run, plan.record, plan.config
    threads_before = torch.get_num_threads()
    threads = int(record["machine"]["threads"])
    try:
        # Sums are split among the threads, so that their number decides the last bits.
        if threads <= (os.cpu_count() or 1):
            torch.set_num_threads(threads)
        _tell_surroundings(plan, on_event)
        with _telling(run):
            _check_unchanged(plan, on_event)
        outcome = run_training(config, command=command, on_event=on_event)
    finally:
        torch.set_num_threads(threads_before)
    if outcome is None:
        return None
    now = read_record(outcome.folder) or {}
    reasons = changed_inputs(record, now) + changed_surroundings(record, now)
    if record["resolved"]["device"] != "cpu":
        reasons.append(f"{record['resolved']['device']} may add up in another order each time")
    if record["resumed"]:
        reasons.append("the run was interrupted, and may have gone on with other threads")
    return RerunOutcome(
        run,
        outcome,
        weights_files_sha256(run),
        weights_files_sha256(outcome.folder),
        tuple(reasons),
    )


def _output_folder(run: Path, given: str | None) -> Path:
    """Return where the new run goes: never into the old one, nor around it.

    Raises:
        RunError: the folder given is, holds or lies in the run's.
    """
    if given is None:
        named = run if run.name not in ("", "..") else Path(os.path.abspath(run))
        return named.with_name(f"{named.name}-rerun")
    output, old = Path(given).resolve(), run.resolve()
    if old in (output, *output.parents) or output in old.parents:
        raise RunError(
            f"--output-dir {given}: is not apart from {run}, which is only read",
            expected="a folder of its own",
            remedy=f"--output-dir {shlex.quote(str(_output_folder(run, None)))}, which is the "
            "default",
        )
    return Path(given)


@contextmanager
def _telling(run: Path) -> Iterator[None]:
    """Say of an input that cannot be had that the run needs it as it was.

    Raises:
        RunError: in place of an error whose remedy is a flag of `train`.
    """
    try:
        yield
    except (DatasetError, BackboneError, ConfigError) as error:
        raise _cannot_be_repeated(run, error.found) from error


def _cannot_be_repeated(run: Path, reason: str) -> RunError:
    return RunError(
        f"{run} cannot be repeated: {reason}",
        expected="its data, model and device as they were",
        remedy="bring them back; to train on what is there now: lasttoken train",
    )


def _tell_surroundings(plan: RerunPlan, on_event: EventCallback) -> None:
    """Warn, before hours of training, of what makes equal weights unlikely."""
    from lasttoken.runs.resume import changed_surroundings
    from lasttoken.versions import machine, package_versions

    now = {
        "versions": package_versions(),
        "machine": {**machine(), "processes": world_size()},
    }
    others = changed_surroundings(plan.record, now)
    if not others:
        return
    text = f"{plan.run} was trained with {'; '.join(others)}: its weights may differ"
    processes = plan.record["machine"].get("processes", 1)
    if processes != world_size():
        again = f"lasttoken rerun {shlex.quote(str(plan.run))}"
        start = f"torchrun --nproc-per-node {processes} -m " if processes > 1 else ""
        text += f"; started as it was: {start}{again}"
    on_event(Note(text, is_warning=True))


def _check_unchanged(plan: RerunPlan, on_event: EventCallback) -> None:
    """Check that data, tokenizer and model are what the run was made from.

    Raises:
        RunError: they are not.
        LastTokenError: they can no longer be read.
    """
    from lasttoken.data.splits import fingerprint
    from lasttoken.runs.examples import read_examples

    def on_progress(event: Event) -> None:  # all else is told when the run itself reads
        if isinstance(event, Progress):
            on_event(event)

    config, record = plan.config, plan.record
    data = read_examples(config, on_progress)
    changed = [
        name
        for name in ("train", "validation", "test")
        if fingerprint(getattr(data.splits, name)) != record["data"][name]["fingerprint"]
    ]
    if changed:
        raise _cannot_be_repeated(
            plan.run, f"its data has changed since ({', '.join(changed)}): {config.data}"
        )
    folder = Path(str(config.output_dir))
    status = run_status(folder, settings_of(config), overwrite=config.overwrite)
    if status != "finished":
        _check_model(plan, data, on_progress)


def _check_model(plan: RerunPlan, data: RunExamples, on_event: EventCallback) -> None:
    """Check the model's weights, and its tokenizer on the test texts."""
    from lasttoken.data.examples import second_texts
    from lasttoken.model.blocks import find_blocks
    from lasttoken.model.device import resolve_device
    from lasttoken.model.folder import load_for_training
    from lasttoken.model.settling import settle_reading
    from lasttoken.model.sources import fetch_model, locate_model
    from lasttoken.model.tokens import tokenize
    from lasttoken.runs.facts import weights_sha256

    config, record = plan.config, plan.record
    resolve_device(config.device)
    labels = data.task.spec(str(example.label) for example in data.splits.train)
    folder = fetch_model(locate_model(config.model), on_event)
    loaded = load_for_training(folder, labels, seed=config.seed)
    kept = record["resolved"]["depth"]
    if kept != "auto" and int(kept) < len(find_blocks(loaded.classifier.hf_model)):
        loaded.classifier.cut(int(kept))  # the weights are those that are kept, as recorded
    expected = record["resolved"].get("model_sha256")
    if expected and expected != weights_sha256(loaded.classifier.hf_model.base_model):
        raise _cannot_be_repeated(
            plan.run, f"the weights of its model have changed since: {config.model}"
        )
    test = data.splits.test
    pairs = second_texts(test)
    tokenizer, reading = settle_reading(
        loaded.tokenizer,
        loaded.classifier.hf_model.config,
        loaded.token_limit,
        max_length=record["resolved"]["max_length"],
        template=config.template,
        has_pairs=pairs is not None,
        long=config.long,
        window_overlap=config.window_overlap,
    )
    texts = tokenize(tokenizer, [example.text for example in test], reading, pairs=pairs)
    tokens = hashlib.sha256(texts.token_ids.data).hexdigest()
    if tokens != record["data"]["test"].get("tokens_sha256", tokens):
        raise _cannot_be_repeated(
            plan.run, f"the tokenizer of its model has changed since: {config.model}"
        )
