"""The command line: thin commands, the only place that prints.

Exit codes: 0 done; 1 a bug of ours (with traceback), warnings that `check` found, other weights
than the run's that `rerun` got, or something to mend that `doctor` found; 2 something the user can
mend (three lines), or errors that `check` found; 130 interrupted by Ctrl-C; 143 interrupted by
SIGTERM. Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from lasttoken import __version__
from lasttoken.cli.arguments import parse
from lasttoken.cli.beyond_runs import run_doctor_command, run_push_command
from lasttoken.cli.deployed import (
    run_export_command,
    run_predict_command,
    run_serve_command,
)
from lasttoken.cli.output import (
    check_standard_output,
    drop_standard_output,
    printing,
    settle_standard_output,
    spelled_out,
)
from lasttoken.cli.results import (
    check_text,
    comparison_text,
    evaluation_text,
    rerun_text,
    rerun_warning,
    training_text,
    tuning_text,
)
from lasttoken.cli.screen import Screen
from lasttoken.config import (
    CheckConfig,
    CompareConfig,
    DoctorConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    PushConfig,
    RerunConfig,
    TrainConfig,
    TuneConfig,
)
from lasttoken.config.serving import ServeConfig
from lasttoken.errors import ConfigError, LastTokenError, StoppedError, TerminatedError
from lasttoken.launch import process_rank


class _Command(NamedTuple):
    config_class: type[Any]
    run: Callable[[Any, Screen, Sequence[str]], int]  # returns the exit code
    usage: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the words after `lasttoken`; those of this process if None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # Read when huggingface_hub is imported; else it looks up who is calling before each request.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        check_standard_output()
        with _terminable():
            return _dispatch(words)
    except LastTokenError as error:
        lines = (error.found, f"expected: {error.expected}", f"try: {error.remedy}")
        # What other programs say into `found` may run over several lines.
        shown = (spelled_out(" ".join(line.split("\n"))) for line in lines)
        print("error: " + "\n".join(shown), file=sys.stderr)
        settle_standard_output()
        return 2
    except StoppedError as error:
        # What it was to replace is replaced; now it would replace what is saved.
        kept = [word for word in words if word != "--overwrite"]
        return _interrupted("to go on from what is saved", kept, error.signal_number)
    except KeyboardInterrupt:
        return _interrupted("the same again", words, signal.SIGINT)
    except TerminatedError:
        return _interrupted("the same again", words, signal.SIGTERM)
    except BrokenPipeError:  # whoever read our output, such as `head`, has closed it
        drop_standard_output()
        return 0


def _interrupted(what: str, words: Sequence[str], signal_number: int) -> int:
    """Tell the command to type next, once for all processes; return the exit code."""
    if process_rank() == 0:
        print(f"interrupted; {what}: {shlex.join(['lasttoken', *words])}", file=sys.stderr)
    return 128 + signal_number


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside the block, SIGTERM unwinds the stack as Ctrl-C does, so that nothing is left behind.

    Only the main thread of a process may handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        with printing():
            print(_overview())
        return 0
    if words[0] in ("--version", "version"):
        with printing():
            print(f"lasttoken {__version__}")
        return 0
    if words[0] not in COMMANDS:
        raise ConfigError(
            f"no command {words[0]!r}",
            expected="one of " + ", ".join(COMMANDS),
            remedy="lasttoken --help",
        )
    command = COMMANDS[words[0]]
    with printing():  # --help
        config = parse(command.config_class, words[1:], program=f"lasttoken {words[0]}")
    if config is None:  # --help was asked for, and given
        return 0
    is_main = process_rank() == 0
    if not is_main and words[0] not in ("train", "rerun"):
        return 0  # the main process does all the work
    with Screen(is_silent=not is_main) as screen:
        code = command.run(config, screen, ["lasttoken", *words])
    if screen.fault is not None:  # told last: the work itself is done
        raise screen.fault
    return code


def _overview() -> str:
    """Return the text of `lasttoken --help`."""
    lines = [
        "lasttoken: fine-tune a decoder language model into a text classifier",
        "",
        "usage: lasttoken COMMAND ...",
        "",
    ]
    for name, command in COMMANDS.items():
        first_line = (command.config_class.__doc__ or "").splitlines()[0]
        lines += [f"  lasttoken {name} {command.usage}", f"      {first_line}"]
    lines += [
        "",
        "lasttoken COMMAND --help shows every flag. Try it on sample data:",
        "  lasttoken train movie-reviews --model smollm2 --limit 1600 --num-epochs 1 "
        "--learning-rate 1e-4",
    ]
    return "\n".join(lines)


def _train(config: TrainConfig, screen: Screen, command: Sequence[str]) -> int:
    from lasttoken.runs.preflight import locate_inputs

    locate_inputs(config)
    screen.start()
    from lasttoken.runs.train import run_training

    outcome = run_training(config, command=command, on_event=screen)
    if outcome is not None:
        screen.show(
            training_text(outcome.folder, outcome.metrics, outcome.seconds, outcome.was_finished)
        )
    return 0


def _tune(config: TuneConfig, screen: Screen, command: Sequence[str]) -> int:
    from lasttoken.runs.preflight import locate_search

    locate_search(config)
    screen.start()
    from lasttoken.runs.tune import run_tuning

    outcome = run_tuning(config, command=command, on_event=screen)
    screen.show(
        tuning_text(
            outcome.folder,
            outcome.trials,
            outcome.best,
            outcome.num_validation,
            outcome.command,
            outcome.was_finished,
        )
    )
    return 0


def _rerun(config: RerunConfig, screen: Screen, command: Sequence[str]) -> int:
    from lasttoken.runs.rerun import plan_rerun, run_rerun

    plan = plan_rerun(config)
    screen.start()
    outcome = run_rerun(plan, command=command, on_event=screen)
    if outcome is None:  # the main process compares
        return 0
    run = outcome.training
    screen.show(training_text(run.folder, run.metrics, run.seconds, run.was_finished))
    weights = (outcome.run, outcome.weights_before, outcome.weights_now)
    screen.show(rerun_text(*weights))
    warning = rerun_warning(*weights, outcome.reasons)
    if warning is not None:
        screen.say(warning)
    return 0 if outcome.is_identical else 1


def _evaluate(config: EvaluateConfig, screen: Screen, command: Sequence[str]) -> int:
    from lasttoken.runs.preflight import locate_evaluation

    locate_evaluation(config)
    from lasttoken.runs.evaluate import run_evaluation

    outcome = run_evaluation(config, command=command, on_event=screen)
    screen.show(evaluation_text(outcome.folder, outcome.metrics))
    return 0


def _compare(config: CompareConfig, screen: Screen, command: Sequence[str]) -> int:
    del command
    from lasttoken.runs.compare import run_comparison

    outcome = run_comparison(config, on_event=screen)
    screen.show(comparison_text(outcome.folder, outcome.content))
    return 0


def _check(config: CheckConfig, screen: Screen, command: Sequence[str]) -> int:
    del command
    from lasttoken.runs.check import run_check

    outcome = run_check(config, on_event=screen)
    screen.show(check_text(outcome.record(), as_json=config.json))
    return outcome.exit_code


COMMANDS = {
    "train": _Command(TrainConfig, _train, "DATA [--model gpt2] [--output-dir RUN] ..."),
    "evaluate": _Command(EvaluateConfig, _evaluate, "RUN DATA"),
    "predict": _Command(PredictConfig, run_predict_command, "RUN INPUT... [--output FILE]"),
    "compare": _Command(CompareConfig, _compare, "RUN RUN..."),
    "rerun": _Command(RerunConfig, _rerun, "RUN [--output-dir NEW]"),
    "tune": _Command(TuneConfig, _tune, "DATA [--minutes 30] [--model gpt2] ..."),
    "check": _Command(CheckConfig, _check, "DATA [--test FILE] [--model gpt2]"),
    "export": _Command(
        ExportConfig, run_export_command, "RUN [--format onnx-int8] [--output FOLDER]"
    ),
    "serve": _Command(ServeConfig, run_serve_command, "RUN [--port 8000]"),
    "doctor": _Command(DoctorConfig, run_doctor_command, "[MODEL [DATA]] [--repair FOLDER]"),
    "push": _Command(PushConfig, run_push_command, "RUN NAME [--dry-run] [--private]"),
}
