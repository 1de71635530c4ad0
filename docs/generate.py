"""Write docs/reference.md from the code: settings, exit codes, files, public names.

    python docs/generate.py

A test fails while reference.md differs from what this program writes.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import lasttoken
from lasttoken import TextClassifier, cli, errors, events
from lasttoken.cli import COMMANDS
from lasttoken.deploy.export.comparison import Comparison
from lasttoken.deploy.light.record import ExportRecord
from lasttoken.evaluation.metrics import ClassificationMetrics, LabelMetrics
from lasttoken.evaluation.multi_label.metrics import MultiLabelMetrics, SetLabelMetrics
from lasttoken.evaluation.regression.metrics import RegressionMetrics
from lasttoken.model.record import ModelRecord

PAGE = Path(__file__).with_name("reference.md")

# What the code does not describe in one place; tests compare these with a real run.
RUN_FILES = {
    "model/": "the model folder: `config.json`, `model.safetensors`, tokenizer, `lasttoken.json`, "
    "`README.md` (the model card)",
    "adapter/": "what adapters learned, with the head, as a plain folder of peft; only with "
    "`--trainable lora`",
    "run.json": "how the run was made: command, settings, data, versions, machine, cost",
    "history.jsonl": "one line an epoch",
    "metrics.json": "scores on the test and validation examples, and the baselines'",
    "report.html": "all of it on one page that needs no network",
    "plots/": "`loss`, `accuracy`, `confusion_matrix`, `reliability`, `coverage`, `roc`, "
    "`precision_recall`, `thresholds`, each as `.png` and `.svg`",
    "predictions/": "`validation.parquet` and `test.parquet`: the logits of every example",
    "label_issues.csv": "labels that look wrong, the likeliest first; only with `--label-check`",
    "tracker/": "what a tracker that keeps files has written; only with `--tracker`",
    "checkpoints/": "what the run goes on from after an interruption; only in an unfinished one",
    "evaluations/": "one folder for each data that `lasttoken evaluate` scored, of the same form",
    "exported/": "one folder for each format that `lasttoken export` wrote",
}
EXPORT_FILES = {
    "model.onnx": "the graph and its weights: `input_ids` and `attention_mask` (B, L) int64, "
    "padded on either side, to `logits` (B, C)",
    "tokenizer.json": "the tokenizer, to be read with `encode_special_tokens`",
    "lasttoken-export.json": "labels, how texts are read, and what was checked (below)",
}
RUN_FIELDS = {
    "schema_version": "number of this form",
    "command": "the words that started the run",
    "settings": "every setting of `train` that decides the result, as given or by default",
    "data_location": "the data's absolute path, or its name on the Hub or among the samples",
    "validation_location": "likewise, or the fraction that was set aside",
    "test_location": "likewise",
    "model_location": "the model's absolute path, or its name",
    "resolved": "what was decided from data, model and machine: maximum length, precision, "
    "device, how the model is read and why, columns, label order, weights of labels, what learns "
    "and how deep, SHA-256 of the model's weights",
    "data": "for each split: examples, fingerprint (SHA-256 over labels and texts), tokens, "
    "texts cut, SHA-256 of the tokens",
    "versions": "of the packages that decide the numbers",
    "machine": "system, processor, cores, threads, vector instructions",
    "process": "number and host of the process at work; only in an unfinished run",
    "resumed": "an entry for each time the run went on: from which checkpoint and step, when",
    "results": "kept epoch, steps, seconds of each phase, the estimate of the time left and the "
    "truth, peak memory, blocks and weights kept and trained, the probe table; only in a finished "
    "run",
    "status": "`unfinished` until the last file is written, then `finished`",
}
METRICS_FIELDS = {
    "schema_version": "number of this form",
    "task": '"single-label", "multi-label", "ordinal" or "regression"',
    "labels": "in their stored order; of a regression the name of what is predicted",
    "title": "of the report",
    "verdict": "the comparison with the baselines in words",
    "caveats": "what to know before the scores are relied on, from the scores",
    "notes": "the warnings that were told on the way",
    "test": "scores on the test examples (below), their `intervals`, `num_correct`, "
    "`confusion_shares` (of each row)",
    "validation": "scores of the kept epoch on the validation examples (below), or null",
    "baselines": "for `majority` and `tfidf_logistic_regression` (multi-label: "
    "`commonest_set`; regression: `mean` and `tfidf_ridge`): the same scores on the test "
    "examples, `difference` (the model minus the baseline, paired), `settings`, `seconds`, "
    "`reason` (why there are no scores, or null)",
    "confused_pairs": "the pairs of labels confused most: `true`, `predicted`, `count`, `share` "
    "of the true label, `examples`",
    "ranking": "for each label `roc_auc`, `average_precision`, their intervals and `curves`; null "
    "for a label that all or no examples have; `macro_roc_auc`, `macro_average_precision`",
    "calibration": "`temperature`; `before` and `after` it: `ece`, `brier`, their intervals, "
    "`log_loss`, `bins` of the reliability diagram",
    "abstaining": "`curve` of accuracy by coverage; `levels`: thresholds chosen on validation "
    "examples, the accuracy each promises, and what it gives on the test; `targets`: the same for "
    "some wished accuracies; `most_promised`",
    "thresholds": "for each label `curve` (precision, recall, F1 by threshold), `best_f1`, and "
    "`precision_at_least` where it was asked for",
    "slices": "`by`, `value`, `num_examples`, `accuracy`, `interval`, `others_accuracy`, "
    "`p_value`, `is_worse`",
    "num_errors": "wrong answers in all",
    "num_errors_too_long": "surer ones than those shown, left out for their length",
    "explained_by": "how the words of `errors` were weighed",
    "errors": "the surest wrong answers: `file`, `row`, `text`, `label`, `predicted`, "
    "`probability`, `words` (parts of the text and their weights), of long texts read in windows "
    "`window` (the one that spoke most for the answer: `number`, `of`, `start`, `stop`, `text`, "
    "`value`)",
    "label_issues": "what `--label-check` found: `noise_rate`, `noise_rate_interval`, "
    "`num_examples`, `num_issues`, the first `issues`, the blocks read (`depths`) and how far "
    "heads and labels agree (`out_of_fold_accuracy`); else null",
    "training": "`history` (as in `history.jsonl`) and `kept_epoch`; null in an evaluation",
    "run": "data, model, settings, cost and provenance as the report shows them",
}
SEARCH_FILES = {
    "best.toml": "the best settings so far, for `lasttoken train DATA --config best.toml`",
    "trials.jsonl": "one line a trial that is over: the fields of the event `TrialEnd`, and "
    "`score`, the highest of its epochs",
    "journal.log": "optuna's journal, from which a search goes on",
    "run.json": "settings, versions and fingerprints; `status` is `finished` when the time is used "
    "up",
}
SCORE_FIELDS = {
    "per_label": "label to its scores (below)",
    "micro_precision": "the same number as accuracy",
    "micro_recall": "likewise",
    "micro_f1": "likewise",
    "num_correct": "examples given their true label; on the test",
    "confusion_shares": "the matrix, each row divided by its sum; on the test",
    "intervals": "score to the two ends of its 95 % interval; on the test",
}
ORDINAL_FIELDS = {
    "mae": "mean distance of the answer from the true label, in places of their order",
    "within_one": "share that is at most one place off",
    "quadratic_weighted_kappa": "agreement above chance where a mistake costs its squared "
    "distance; null where all labels, true or given, are one",
    "spearman": "rank correlation, likewise",
    "distances": "for each distance `places`, `examples` and their `share`",
}
SET_FIELDS = {
    "mistakes": "in place of `confused_pairs`: pairs of a label `missed` and one `given` instead, "
    "`count`, `share` of the missed label's examples, `examples`",
    "set_sizes": "how many examples have (`true`), and are `given`, so many labels (`size`)",
    "calibration": "over all pairs of example and label",
    "slices": "`accuracy` is the share of exactly right sets",
    "errors": "the surest wrong decisions: `labels` and `predicted` are sets, `decision` the one "
    "`label` that was given or missed (`is_given`), its `probability` and `threshold`",
}
NUMBER_FIELDS = {
    "ranges": "for each `level`, the share that should hold, the `reach` around a prediction, "
    "found on validation examples, and the `share` of true values that it held on the `test`",
    "bins": "test examples by predicted value: `low`, `high`, `num_examples`, mean `predicted` and "
    "`true` value, `true_interval`",
    "points": "true and predicted value of up to 1,000 test examples, for the plot",
    "slices": "`by`, `value`, `num_examples`, `mae`, `interval`, `bias`, `others_mae`, `p_value`, "
    "`is_worse`",
    "errors": "the largest errors: `file`, `row`, `text`, `true`, `predicted`, `error`, `words`",
}
PREDICTION_FIELDS = {
    "file": "where the example was read",
    "row": "its row there, from 1",
    "text_sha256": "of the text",
    "label": "the true label",
    "logits": "one number a label, in the order of `labels` in `metrics.json`",
}
PREDICT_COLUMNS = {
    "predicted_label": "the most probable label",
    "predicted_probability": "its probability",
    "probability_<label>": "the probability of each label, in their stored order",
    "num_tokens": "tokens of the text before cutting",
    "truncated": "true if the text was cut at the model's limit",
    "abstained": "true if it is left to a person; only with `--abstain-below` or "
    "`--target-accuracy`",
}
SHARD_FIELDS = {
    "schema_version": "number of this form",
    "shard": "i/n",
    "first_row": "of the part, from 1, counted over all inputs, bad rows too",
    "last_row": "likewise; one less than `first_row` if the part has no row",
    "num_rows": "of all inputs",
    "inputs": "`path` and `num_rows` of each",
    "run": "as it was given",
    "answered_by": "`weights` (SHA-256), `precision`, `device`, `reading_path`, `temperature` (1.0 "
    "but with `--uncalibrated`)",
    "versions": "of the packages that decide the numbers",
}
ENVIRONMENT = {
    "LASTTOKEN_CACHE": "folder of the samples and of converted GGUF files "
    "[`$XDG_CACHE_HOME/lasttoken` or `~/.cache/lasttoken`]",
    "HF_HOME": "folder of everything fetched from the Hub [`~/.cache/huggingface`]",
    "HF_HUB_OFFLINE": "1: never ask the Hub; use what is cached",
}


def reference() -> str:
    """Return the page."""
    parts = [
        "# Reference",
        "Written by `python docs/generate.py` from the code; change the code, not this page.",
        "## Commands",
        *(_command(name) for name in COMMANDS),
        "### Exit codes",
        _table(("Code", "Meaning"), _exit_codes()),
        "### Environment",
        _table(("Variable", "Meaning"), ((f"`{k}`", v) for k, v in ENVIRONMENT.items())),
        "## Files of a run",
        _table(("Name", "Holds"), ((f"`{k}`", v) for k, v in RUN_FILES.items())),
        "`lasttoken.json`, `run.json`, `metrics.json` and `history.jsonl` are UTF-8. Shares and "
        "scores lie between 0 and 1; losses are in nats per example.",
        "### metrics.json",
        _fields(METRICS_FIELDS),
        "Scores of one set of examples:",
        _fields({**_attributes(ClassificationMetrics), **SCORE_FIELDS}),
        "`per_label` maps each label to:",
        _fields(
            {k: v for k, v in _attributes(LabelMetrics).items() if k != "label"}
            | {"intervals": "of these three, on the test"}
        ),
        "Of an ordinal task also:",
        _fields(ORDINAL_FIELDS),
        "Of a multi-label task `abstaining` is missing, and others stand in their places:",
        _fields(SET_FIELDS),
        "Its scores of one set of examples:",
        _fields(_attributes(MultiLabelMetrics) | {"intervals": SCORE_FIELDS["intervals"]}),
        "Of each label:",
        _fields(
            {k: v for k, v in _attributes(SetLabelMetrics).items() if k != "label"}
            | {"intervals": "of precision, recall and F1, on the test"}
        ),
        "Of a regression there are `test`, `validation`, `baselines` and:",
        _fields(NUMBER_FIELDS),
        "Its scores of one set of examples:",
        _fields(
            _attributes(RegressionMetrics)
            | {
                "intervals": SCORE_FIELDS["intervals"],
                "true_values": "`mean`, `standard_deviation`, `least` and `most`; on the test",
            }
        ),
        "### history.jsonl",
        _fields({k: v for k, v in _attributes(events.EpochEnd).items() if k != "is_kept"}),
        "### run.json",
        _fields(RUN_FIELDS),
        "### model/lasttoken.json",
        "Optional: a folder without it loads as well.",
        _fields(_attributes(ModelRecord)),
        "### predictions/*.parquet",
        _fields(PREDICTION_FIELDS),
        "### Columns that `predict` appends",
        _fields(PREDICT_COLUMNS),
        "### OUTPUT.shard.json, beside the output of `predict --shard`",
        _fields(SHARD_FIELDS),
        "## Files of an export",
        _table(("Name", "Holds"), ((f"`{k}`", v) for k, v in EXPORT_FILES.items())),
        "### lasttoken-export.json",
        _fields(_attributes(ExportRecord)),
        "`checks` holds:",
        _fields(_attributes(Comparison)),
        "## Files of a search",
        _table(("Name", "Holds"), ((f"`{k}`", v) for k, v in SEARCH_FILES.items())),
        "## Python",
        _table(("Name in `lasttoken`", "What it is"), _public_names()),
        "### TextClassifier",
        _table(("Argument", "Default", "Meaning"), _arguments(TextClassifier)),
        _table(("Method", "What it does"), _methods(TextClassifier)),
        _table(("Attribute after `fit`", "Meaning"), _rows(_attributes(TextClassifier))),
        "### Errors",
        "```text\n" + inspect.cleandoc(_after(errors.__doc__ or "", "\n\n", "\n\n")) + "\n```",
        "Each has `found`, `expected` and `remedy`; its text is these three lines.",
        "### Events",
        "`fit(..., on_event=callback)` calls `callback` with records of `lasttoken.events`:",
        *(_event(kind) for kind in get_args(events.Event)),
    ]
    return "\n\n".join(parts) + "\n"


def _command(name: str) -> str:
    command = COMMANDS[name]
    hints = typing.get_type_hints(command.config_class, include_extras=True)
    rows = []
    for field in dataclasses.fields(command.config_class):
        kind, doc = get_args(hints[field.name])
        is_required = field.default is dataclasses.MISSING
        is_positional = is_required or field.name in getattr(
            command.config_class, "optional_places", ()
        )
        flag = field.name.upper() if is_positional else "--" + field.name.replace("_", "-")
        help_text, default = doc.documentation, field.default
        bracket = re.search(r" \[(.*)\]$", help_text)
        if default is None:
            shown = bracket.group(1) if bracket else "none"
            help_text = re.sub(r" \[.*\]$", "", help_text)
        else:
            shown = "required" if is_required else "off" if default is False else f"`{default}`"
        rows.append((f"`{flag}`", _type(kind), shown, help_text))
    return "\n\n".join(
        (
            f"### lasttoken {name}",
            _first_line(command.config_class).replace("<", "\\<"),
            f"```text\nlasttoken {name} {command.usage}\n```",
            _table(("Flag", "Type", "Default", "Meaning"), rows)
            + "\n| `--config` | file | none | settings from a TOML file; flags win over it |",
        )
    )


def _type(kind: Any) -> str:  # noqa: ANN401 - any annotation
    if get_origin(kind) is Annotated:
        return _type(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    kinds = [part for part in get_args(kind) or (kind,) if part is not type(None)]
    names = {str: "text", int: "whole number", float: "number", bool: "switch"}
    shown = " or ".join(names[part] for part in kinds if part is not ...)
    return f"{shown}, one or more" if ... in kinds else shown


def _exit_codes() -> list[tuple[str, str]]:
    paragraph = " ".join(_after(cli.__doc__ or "", "Exit codes: ", ". ").split())
    return [(f"`{code}`", text) for code, _, text in (p.partition(" ") for p in _parts(paragraph))]


def _parts(paragraph: str) -> list[str]:
    return [part.strip() for part in paragraph.split(";")]


def _after(text: str, start: str, end: str) -> str:
    return text.split(start, 1)[1].split(end, 1)[0]


def _attributes(kind: type, section: str = "Attributes") -> dict[str, str]:
    """Return name to meaning from a section of a class's docstring."""
    lines = inspect.cleandoc(kind.__doc__ or "").partition(f"{section}:\n")[2].splitlines()
    found: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(" "):
            break
        entry = re.match(r" {4}(\w+): (.*)", line)
        if entry:
            name = entry.group(1)
            found[name] = entry.group(2)
        elif line.strip():
            found[name] += " " + line.strip()
    return found


def _public_names() -> list[tuple[str, str]]:
    return [(f"`{name}`", _first_line(getattr(lasttoken, name))) for name in lasttoken.__all__]


def _arguments(kind: type) -> list[tuple[str, str, str]]:
    meanings = _attributes(kind, "Args")
    parameters = inspect.signature(kind).parameters
    return [(f"`{name}`", f"`{parameters[name].default!r}`", meanings[name]) for name in parameters]


def _methods(kind: type) -> list[tuple[str, str]]:
    own = [
        (name, member)
        for name, member in vars(kind).items()
        if not name.startswith(("_", "set_"))  # set_..._request are scikit-learn's
        and inspect.isroutine(inspect.unwrap(getattr(kind, name)))
    ]
    return [(f"`{name}`", _first_line(getattr(kind, name))) for name, _ in own]


def _event(kind: type) -> str:
    return f"`{kind.__name__}`: {_first_line(kind)}\n\n{_fields(_attributes(kind))}"


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").splitlines()[0]


def _fields(meanings: dict[str, str]) -> str:
    return _table(("Field", "Meaning"), _rows(meanings))


def _rows(meanings: dict[str, str]) -> list[tuple[str, str]]:
    return [(f"`{name}`", meaning) for name, meaning in meanings.items()]


def _table(head: tuple[str, ...], rows: typing.Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Return a cell without its full stop; what looks like markup outside of code is text."""
    parts = (text if text.endswith("..") else text.removesuffix(".")).split("`")
    parts[::2] = [re.sub(r"([<*_])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
