"""The model card: `README.md` of the model folder, in the Hugging Face Hub's form.

    metrics.json + run.json  ->  YAML metadata (for the Hub's search) + Markdown (for people)

It holds labels and scores, never a text of the data, and of local paths only the last part, so that
it can be published as it is. Whatever the data named (labels, columns, files) is escaped.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lasttoken.data.hub import HUB_ID
from lasttoken.data.samples import SAMPLE_DATA, SAMPLE_MODELS
from lasttoken.durable import replace_file
from lasttoken.evaluation.baseline import BASELINE_NAMES
from lasttoken.evaluation.report.limits import limits, tested
from lasttoken.evaluation.report.markdown import table, text

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

LABELS_SHOWN = 30  # the weakest of more labels
# Columns of the results.
_SCORES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "mcc": "MCC",
    "log_loss": "log loss",
}
_PATHS = ("data", "validation", "test", "model")


def write_model_card(
    path: Path, metrics: Mapping[str, Any], record: Mapping[str, Any], *, name: str
) -> None:
    """Write the card of a model: whole or not at all.

    Args:
        path: `README.md` of the model folder.
        metrics: the content of `metrics.json`.
        record: the content of `run.json`; its parts may be missing.
        name: of the model, such as the run folder's.

    Raises:
        RunError: it cannot be written.
    """
    replace_file(path, model_card(metrics, record, name=name).encode())


def model_card(metrics: Mapping[str, Any], record: Mapping[str, Any], *, name: str) -> str:
    """Return the card of a model; see `write_model_card`. No network is asked.

    Source:
        Fields of the metadata: the Hub's model card specification, written by `huggingface_hub`.
    """
    from huggingface_hub import ModelCard

    sections = [
        f"# {text(name)}",
        _what_it_is(metrics, record),
        f"## Use\n\n{_use(record)}",
        f"## Results\n\n{_results(metrics)}",
        f"## Intended use\n\n{_intended_use(metrics)}",
        "## Limits\n\n" + "\n".join(f"- {each}" for each in limits(metrics, record)),
        f"## Training\n\n{_training(record)}",
    ]
    body = "\n\n".join(sections)
    return str(ModelCard(f"---\n{_metadata(metrics, record, name).to_yaml()}\n---\n\n{body}\n"))


def _metadata(metrics: Mapping[str, Any], record: Mapping[str, Any], name: str) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    data_id = _hub_id(record, "data", SAMPLE_DATA)
    shown = _plain(_shown(record, "data") or "unnamed")
    fingerprint = record.get("data", {}).get("test", {}).get("fingerprint")
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="Text classification",
            dataset_type=data_id or re.sub(r"[^\w.-]+", "-", shown, flags=re.ASCII).strip("-.")
            or "unnamed",
            dataset_name=shown,
            dataset_split="test",
            dataset_args={"sha256": fingerprint} if fingerprint else None,
            metric_type=kind,
            metric_name=metric_name,
            metric_value=metrics["test"][key],
            metric_args=arguments,
        )
        for key, kind, metric_name, arguments in (
            ("accuracy", "accuracy", "Accuracy", None),
            ("macro_f1", "f1", "Macro F1", {"average": "macro"}),
        )
    ]  # fmt: skip
    # Neither language nor license: the run does not know them.
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["text-classification", "lasttoken"],
        base_model=_hub_id(record, "model", SAMPLE_MODELS),
        datasets=[data_id] if data_id else None,
        metrics=["accuracy", "f1"],
        model_name=_plain(name) or "classifier",
        eval_results=results,
    )


def _hub_id(record: Mapping[str, Any], what: str, samples: Sequence[str]) -> str | None:
    """Return the Hub id of a run's model or data; None of a path, a sample, or what is unknown."""
    place = record.get(f"{what}_location")
    if place is None or place in samples or os.path.isabs(place) or place.startswith("."):
        return None
    return str(place) if HUB_ID.fullmatch(place) else None


def _shown(record: Mapping[str, Any], what: str) -> str:
    """Return a setting as it may be published: of a path the last part."""
    value = str(record.get("settings", {}).get(what) or "")
    place = str(record.get(f"{what}_location") or value)
    is_id = _hub_id(record, what, ()) is not None
    return value if is_id else os.path.basename(place.rstrip("/\\")) or value


def _plain(value: str) -> str:
    """Return one line of printable characters, for YAML."""
    return "".join(c if c.isprintable() else " " for c in value).strip()


def _what_it_is(metrics: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    model, data, labels = _shown(record, "model"), _shown(record, "data"), metrics["labels"]
    made_of = f"{text(model)}, a decoder language model," if model else "a decoder language model"
    resolved, results = record.get("resolved", {}), record.get("results", {})
    depth, blocks = results.get("depth"), results.get("num_blocks")
    cut = f" Of its {blocks} blocks the first {depth} are kept." if depth != blocks else ""
    count = record.get("data", {}).get("train", {}).get("examples")
    on = f" It was trained on {count:,} labeled examples" if count is not None else ""
    of = f" of {text(data)}" if data and on else ""
    shown = ", ".join(text(label) for label in labels[:LABELS_SHOWN])
    more = f" and {len(labels) - LABELS_SHOWN:,} more" if len(labels) > LABELS_SHOWN else ""
    learns = {"probe": " Only the head was trained."}.get(str(resolved.get("trainable")), "")
    return (
        f"A text classifier made of {made_of} by lasttoken: a linear head reads the hidden state "
        f"of a text's last token.{cut}{on}{of}{'.' if on else ''}{learns}\n\n"
        f"It gives a text one of {len(labels):,} labels: {shown}{more}."
    )


def _use(record: Mapping[str, Any]) -> str:
    settings = record.get("settings", {})
    limit = record.get("resolved", {}).get("max_length")
    cut = f" at {limit:,} tokens" if limit else ""
    lines = [
        "`MODEL` is this folder, or its name on the Hub. With lasttoken, labels and probabilities "
        "beside a file's own columns:",
        "```bash\nlasttoken predict MODEL texts.csv --output labels.csv\n```",
        "With transformers alone:",
        "```python\nfrom transformers import pipeline\n\n"
        'classify = pipeline("text-classification", "MODEL")\n'
        'classify("a text", truncation=True)\n```',
        f"`truncation=True` cuts texts{cut}, as in training and as lasttoken does.",
    ]
    if settings.get("prompt"):
        lines.append(
            f"Every text was read behind the prompt “{text(settings['prompt'])}”. lasttoken puts "
            "it there by itself; with transformers alone, put it in front of each text."
        )
    if settings.get("fix_text"):
        lines.append(
            "Broken Unicode was repaired in training (ftfy). lasttoken does so at prediction too; "
            "with transformers alone, call `ftfy.fix_text` on each text."
        )
    return "\n\n".join(lines)


def _results(metrics: Mapping[str, Any]) -> str:
    test = metrics["test"]
    lines = [
        text(metrics["verdict"], limit=None),
        f"On {tested(test['num_examples'])}, scored once; in brackets, 95 % intervals:",
        table(*_score_table(metrics)),
    ]
    per_label = sorted(test["per_label"].items(), key=lambda item: float(item[1]["f1"]))
    if len(per_label) > LABELS_SHOWN:
        lines.append(f"The {LABELS_SHOWN} labels of the lowest F1, of {len(per_label):,}:")
    else:
        lines.append("By label, the lowest F1 first:")
    head = ("label", "precision", "recall", "F1", "test examples")
    rows = [
        (
            text(label),
            *(_scored(each, name) for name in ("precision", "recall", "f1")),
            f"{each['support']:,}",
        )
        for label, each in per_label[:LABELS_SHOWN]
    ]
    return "\n\n".join([*lines, table(head, rows)])


def _score_table(metrics: Mapping[str, Any]) -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    """Return the model's scores above its baselines': head and rows."""
    rows = [["this model", *(_scored(metrics["test"], name) for name in _SCORES), ""]]
    for name, each in metrics["baselines"].items():
        if "accuracy" in each:  # else it could not be made, which the verdict tells
            difference = each["difference"]
            low, high = difference["accuracy_interval"]
            gain = f"{difference['accuracy']:+.3f} ({low:+.3f} to {high:+.3f})"
            rows.append([BASELINE_NAMES[name], *(_scored(each, key) for key in _SCORES), gain])
    return ["", *_SCORES.values(), "accuracy gained by this model"], rows


def _scored(scores: Mapping[str, Any], name: str) -> str:
    """Return a score and its interval, if there is one: baselines have none."""
    interval = scores.get("intervals", {}).get(name)
    ends = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    return f"{scores[name]:.3f}{ends}"


def _intended_use(metrics: Mapping[str, Any]) -> str:
    low, high = metrics["test"]["intervals"]["accuracy"]
    # Rounded outwards, to hold the truth as often as the interval does.
    fewest, most = math.floor(100 * (1 - high)), math.ceil(100 * (1 - low))
    return (
        "Sorting texts of the kind it was trained on, in the same language, into the labels above. "
        f"Between {fewest} and {most} of 100 such texts get a wrong label: where that costs much, "
        "let a person look, first of all at the texts whose probability is low. It was measured on "
        "nothing but the test examples; before other texts are given to it, measure it on "
        "labeled ones: `lasttoken evaluate MODEL other.csv`."
    )


def _training(record: Mapping[str, Any]) -> str:
    return "\n\n".join(
        [
            "What `run.json` of the run tells in full:",
            table(("what", "value"), list(_training_rows(record))),
        ]
    )


def _training_rows(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for split, part in record.get("data", {}).items():
        yield (
            f"{text(split)} data",
            f"{part['examples']:,} examples, sha256 {text(part['fingerprint'][:16])}",
        )
    for name, value in record.get("settings", {}).items():
        shown = _shown(record, name) if name in _PATHS else value
        if isinstance(shown, bool):
            shown = "yes" if shown else "no"
        if shown not in (None, ""):
            yield text(name.replace("_", " ")), text(str(shown))
    resolved, results = record.get("resolved", {}), record.get("results", {})
    if "precision" in resolved:
        yield "computed in", text(f"{resolved['precision']} on {resolved.get('device', '?')}")
    if "best_epoch" in results:
        yield "kept epoch", str(results["best_epoch"])
    if "num_trainable_weights" in results:
        yield (
            "weights that learn",
            f"{results['num_trainable_weights']:,} of {results['num_weights']:,}",
        )
    for name, version in record.get("versions", {}).items():
        yield text(name), text(str(version))
