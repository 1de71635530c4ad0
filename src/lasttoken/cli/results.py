"""What commands print at their end, as text; whoever shows it decides where."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lasttoken.events import TrialEnd

if TYPE_CHECKING:
    from lasttoken.deploy.push import PushPlan

_BASELINE_NAMES = {
    "majority": "majority label",
    "commonest_set": "commonest label set",
    "mean": "mean",
    "tfidf_logistic_regression": "TF-IDF + logistic regression",
    "tfidf_ridge": "TF-IDF + ridge regression",
}
_CLASSIFIED = {"accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log loss"}
# Columns of the table of scores, by the task of `metrics.json`; the first is what a verdict is on.
_COLUMNS = {
    "single-label": _CLASSIFIED,
    "ordinal": {**_CLASSIFIED, "mae": "distance"},
    "multi-label": {"macro_f1": "macro F1", "micro_f1": "micro F1", "subset_accuracy": "exact"},
    "regression": {"mae": "MAE", "rmse": "RMSE", "r2": "R²"},
}


def training_text(
    folder: Path, metrics: Mapping[str, Any], seconds: float, was_finished: bool
) -> str:
    """Return what a run reached and where everything is."""
    lines = [f"{folder} holds this very run, finished; nothing was changed"] * was_finished
    lines += [
        *_metrics_lines(metrics),
        f"took {duration(seconds)}",
        f"report    {folder / 'report.html'}",
        f"metrics   {folder / 'metrics.json'}",
        f"model     {folder / 'model'}",
    ]
    issues = metrics.get("label_issues")
    if issues is not None:
        lines.append(
            f"labels    {folder / 'label_issues.csv'} ({issues['num_issues']:,} to review)"
        )
    return "\n".join([*lines, f"predict   lasttoken predict {folder} FILE"])


def trial_text(trial: TrialEnd) -> str:
    """Return a trial's settings, its score after each epoch, its seconds, and how it ended."""
    scores = ", ".join(_shown_score(trial, score) for score in trial.scores) or "none"
    best = " (best so far)" if trial.is_best else ""
    ended = f"; {trial.state}: {trial.reason}" if trial.reason else ""
    return (
        f"trial {trial.number}: {trial.metric} by epoch {scores}{best}; "
        f"{settings_text(trial.settings)}; {duration(trial.seconds)}{ended}"
    )


def _shown_score(trial: TrialEnd, score: float) -> str:
    return f"{-score if trial.metric == 'loss' else score:.3f}"


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings in a line, numbers to three digits."""
    shown = {name: f"{v:.3g}" if isinstance(v, float) else v for name, v in settings.items()}
    return ", ".join(f"{name} {'all' if v is None else v}" for name, v in shown.items())


def tuning_text(
    folder: Path,
    trials: Sequence[TrialEnd],
    best: TrialEnd,
    num_validation: int,
    command: str,
    was_finished: bool,
) -> str:
    """Return what a search tried, what was best, and what to type next."""
    states = Counter(trial.state for trial in trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    lines = [f"{folder} holds this very search, finished; nothing was changed"] * was_finished
    lines.append(f"{len(trials)} trials ({counts}) in {duration(sum(t.seconds for t in trials))}")
    first = trials[0]
    if first.score is not None and first is not best:
        shown = _shown_score(first, first.score)
        lines.append(f"first     trial 1: {first.metric} {shown}, with the settings given")
    shown = _shown_score(best, max(best.scores))
    lines += [
        f"best      trial {best.number}: {best.metric} {shown}; {settings_text(best.settings)}",
        f"          the best of {len(trials)} on {num_validation:,} validation examples: it looks "
        "a little better than it is; the test, which no trial has read, will tell",
        f"settings  {folder / 'best.toml'}",
        f"train     {command}",
    ]
    return "\n".join(lines)


def evaluation_text(folder: Path, metrics: Mapping[str, Any]) -> str:
    """Return the scores on other data."""
    lines = [
        *_metrics_lines(metrics),
        f"report    {folder / 'report.html'}",
        f"metrics   {folder / 'metrics.json'}",
    ]
    return "\n".join(lines)


def rerun_text(run: Path, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return whether a repeated run gave the same weights."""
    lines = []
    for name in sorted({*before, *now}):
        was, is_now = before.get(name, "not there"), now.get(name, "not there")
        place = run / "model" / name
        lines.append(
            f"identical to {place}: sha256 {was}"
            if was == is_now
            else f"different from {place}: sha256 {was}, now sha256 {is_now}"
        )
    return "\n".join(lines)


def rerun_warning(
    run: Path, before: Mapping[str, str], now: Mapping[str, str], reasons: Sequence[str]
) -> str | None:
    """Return why a repeated run may have given other weights; None if it did not."""
    if before == now:
        return None
    why = "; ".join(reasons) or "nothing that is recorded: versions and machine are equal"
    return f"warning: other weights than those of {run}; what differs: {why}"


def prediction_text(
    num_texts: int, num_truncated: int, num_abstained: int | None, output: str | None
) -> str:
    """Return how many texts were classified, and how many are left to a person."""
    cut = f", {num_truncated:,} of them cut at the model's limit" if num_truncated else ""
    where = f" into {output}" if output else ""
    text = f"{num_texts:,} texts classified{where}{cut}"
    if num_abstained is not None and num_texts:
        coverage = (num_texts - num_abstained) / num_texts
        text += f"\n{num_abstained:,} are left to a person: {coverage:.1%} are answered"
    return text


def comparison_text(folder: Path, content: Mapping[str, Any]) -> str:
    """Return the runs' scores and which is better."""
    rows = {name: run["scores"] for name, run in content["runs"].items()}
    columns = _COLUMNS[content["task"]]
    lines = _table(f"on {content['num_examples']:,} test examples", rows, columns)
    return "\n".join([*lines, content["verdict"], f"report    {folder / 'report.html'}"])


def export_text(folder: Path, export_format: str, checks: Mapping[str, Any]) -> str:
    """Return what was compared before an export was written, and where it is."""
    share, probes = checks["labels_equal"], checks["probes_difference"]
    size, whole = checks["exported_bytes"], checks["weights_bytes"]
    speed = checks["milliseconds"] / checks["exported_milliseconds"]
    rows = [
        ("labels equal", "n/a" if share is None else f"{share:.2%}"),
        ("largest score difference", f"{checks['largest_difference']:.2g}"),
        ("mean score difference", f"{checks['mean_difference']:.2g}"),
        (
            f"alone and in a batch ({checks['num_alone']} texts)",
            f"differ by at most {checks['alone_difference']:.2g}",
        ),
        (
            f"{checks['num_probes']} unusual texts",
            "same tokens" + ("" if probes is None else f", scores differ by at most {probes:.2g}"),
        ),
        ("accuracy of the run", _with_interval(checks, "accuracy")),
        ("accuracy exported", _with_interval(checks, "exported_accuracy")),
        ("size", f"{size / 1e6:.1f} MB, {size / whole:.2f} of the weights in fp32"),
        (
            "a text alone",
            f"{checks['exported_milliseconds']:.1f} ms; torch fp32 {checks['milliseconds']:.1f} ms "
            f"({speed:.2f} times as fast)",
        ),
    ]
    return "\n".join(
        [
            f"{export_format} and the run on {checks['num_texts']:,} texts ({checks['texts']})",
            *(f"  {name:36}{value}" for name, value in rows),
            f"exported  {folder}",
            f"predict   lasttoken predict {folder} FILE",
        ]
    )


def _with_interval(checks: Mapping[str, Any], name: str) -> str:
    if checks[name] is None:
        return "n/a"
    low, high = checks[f"{name}_interval"]
    return f"{checks[name]:.3f} (95 %: {low:.3f} to {high:.3f})"


def check_text(record: Mapping[str, Any], *, as_json: bool) -> str:
    """Return what a check found: a line a finding, its rows and its remedy; or JSON."""
    if as_json:
        return json.dumps(record, indent=1, ensure_ascii=False)
    lines = []
    for finding in record["findings"]:
        lines.append(f"{finding['severity']}: {finding['found']}")
        if finding["places"]:
            lines.append(f"    rows: {_shown_places(finding['places'], finding['count'])}")
        if finding["severity"] != "note":
            lines.append(f"    do: {finding['remedy']}")
    counts = Counter(finding["severity"] for finding in record["findings"])
    splits = ", ".join(f"{name} {count:,}" for name, count in record["num_examples"].items())
    told = ", ".join(f"{counts[name]} {name}s" for name in ("error", "warning", "note"))
    return "\n".join([*lines, f"{record['data']}: examples: {splits or 'none'}; {told}"])


def _metrics_lines(metrics: Mapping[str, Any]) -> list[str]:
    columns = _COLUMNS[metrics.get("task", "single-label")]  # older runs do not tell
    rows = {"this model": metrics["test"]}
    for name, baseline in metrics["baselines"].items():
        if next(iter(columns)) in baseline:
            rows[_BASELINE_NAMES.get(name, name)] = baseline
    title = f"test on {metrics['test']['num_examples']:,} examples"
    return [*_table(title, rows, columns), str(metrics["verdict"])]


def _table(
    title: str, rows: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str]
) -> list[str]:
    return [
        f"{title:30}" + "".join(f"{name:>10}" for name in columns.values()),
        *(
            f"  {name:28}" + "".join(_cell(scores[key]) for key in columns)
            for name, scores in rows.items()
        ),
    ]


def _cell(value: float | None) -> str:
    if value is None:
        return f"{'n/a':>10}"
    return f"{value:10.3f}" if abs(value) < 1000 else f"{value:10.4g}"


def _shown_places(places: Sequence[Mapping[str, Any]], count: int) -> str:
    """Return "3, 17 of a.csv; 4 of b.csv and 90 more", rows of one file together."""
    rows: dict[str, list[str]] = {}
    for place in places:
        rows.setdefault(place["file"] or place["split"], []).append(f"{place['row']:,}")
    shown = "; ".join(f"{', '.join(numbers)} of {file}" for file, numbers in rows.items())
    return shown + (f"; {count - len(places):,} more" if count > len(places) else "")


def duration(seconds: float) -> str:
    """Return "4.2 s", "3 min 05 s" or "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def push_text(plan: PushPlan, *, is_dry: bool) -> str:
    """Return exactly which files go to the Hub, with their sizes, and what stays."""
    verb = "would go" if is_dry else "go"
    kind = "private" if plan.is_private else "public"
    total = sum(file.size for file in plan.files)
    width = max(len(file.name) for file in plan.files)
    lines = [f"{len(plan.files)} files of {plan.folder} {verb} to {plan.name} ({kind}):"]
    lines += [f"  {file.name:{width}}  {file.size:>15,} bytes" for file in plan.files]
    lines.append(f"  {'together':{width}}  {total:>15,} bytes")
    if plan.stay:
        lines.append("what stays: " + ", ".join(plan.stay))
    if is_dry and not plan.has_card:
        lines.append("no model card (README.md) would go with it")
    if is_dry:
        lines.append("nothing was sent")
    return "\n".join(lines)
