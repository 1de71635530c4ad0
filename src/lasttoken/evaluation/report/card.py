"""The model card: `README.md` of the model folder, in the Hugging Face Hub's form.

    metrics.json + run.json  ->  YAML metadata (for the Hub's search) + Markdown (for people)

It holds labels and scores, never a text of the data, and of local paths only the last part, so that
it can be published as it is. Whatever the data named (labels, columns, files) is escaped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lasttoken.data.hub import HUB_ID
from lasttoken.data.samples import SAMPLE_DATA, SAMPLE_MODELS
from lasttoken.durable import replace_file
from lasttoken.evaluation.baseline import BASELINE_NAMES
from lasttoken.evaluation.headline import tested
from lasttoken.evaluation.report.card_kinds import CARDS, CardKind, scored
from lasttoken.evaluation.report.limits import limits
from lasttoken.evaluation.report.markdown import table, text

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

# What transformers does with long texts, beside what lasttoken does.
_LONG_TEXTS = {
    "cut-end": "`truncation=True` cuts texts{cut}, as in training and as lasttoken does.",
    "cut-start": "`truncation=True` cuts off the beginning of texts{cut}, as in training and as "
    "lasttoken does.",
    "cut-middle": "`truncation=True` cuts texts{cut}. Of a longer text lasttoken reads the first "
    "quarter and the last three of what fits, as in training: there its answers are others.",
    "windows": "`truncation=True` cuts texts{cut}. lasttoken reads all of a longer text, in "
    "windows whose answers are averaged, as in training: there its answers are others.",
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

    kind = CARDS[metrics["task"]]
    sections = [
        f"# {text(name)}",
        _what_it_is(metrics, record, kind),
        f"## Use\n\n{_use(record, kind)}",
        f"## Results\n\n{_results(metrics, kind)}",
        f"## Intended use\n\n{kind.intended(metrics)}",
        "## Limits\n\n" + "\n".join(f"- {each}" for each in limits(metrics, record)),
        f"## Training\n\n{_training(record)}",
    ]
    body = "\n\n".join(sections)
    return str(
        ModelCard(f"---\n{_metadata(metrics, record, kind, name).to_yaml()}\n---\n\n{body}\n")
    )


def _metadata(
    metrics: Mapping[str, Any], record: Mapping[str, Any], kind: CardKind, name: str
) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    data_id = _hub_id(record, "data", SAMPLE_DATA)
    shown = _plain(_shown(record, "data") or "unnamed")
    fingerprint = record.get("data", {}).get("test", {}).get("fingerprint")
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="Text classification",
            dataset_type=data_id
            or re.sub(r"[^\w.-]+", "-", shown, flags=re.ASCII).strip("-.")
            or "unnamed",
            dataset_name=shown,
            dataset_split="test",
            dataset_args={"sha256": fingerprint} if fingerprint else None,
            metric_type=metric_type,
            metric_name=metric_name,
            metric_value=metrics["test"][key],
            metric_args=arguments,
        )
        for key, metric_type, metric_name, arguments in kind.hub_scores
        if metrics["test"][key] is not None
    ]
    # Neither language nor license: the run does not know them.
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["text-classification", "lasttoken"],
        base_model=_hub_id(record, "model", SAMPLE_MODELS),
        datasets=[data_id] if data_id else None,
        metrics=list(dict.fromkeys(metric_type for _, metric_type, _, _ in kind.hub_scores)),
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


def _what_it_is(metrics: Mapping[str, Any], record: Mapping[str, Any], kind: CardKind) -> str:
    model, data = _shown(record, "model"), _shown(record, "data")
    made_of = f"{text(model)}, a decoder language model," if model else "a decoder language model"
    resolved, results = record.get("resolved", {}), record.get("results", {})
    depth, blocks = results.get("depth"), results.get("num_blocks")
    cut = f" Of its {blocks} blocks the first {depth} are kept." if depth != blocks else ""
    count = record.get("data", {}).get("train", {}).get("examples")
    on = f" It was trained on {count:,} labeled examples" if count is not None else ""
    of = f" of {text(data)}" if data and on else ""
    learns = {"probe": " Only the head was trained."}.get(str(resolved.get("trainable")), "")
    return (
        f"A text {kind.noun} made of {made_of} by lasttoken: a linear head reads the hidden state "
        f"of a text's last token.{cut}{on}{of}{'.' if on else ''}{learns}\n\n"
        f"{kind.gives(metrics['labels'])}"
    )


def _use(record: Mapping[str, Any], kind: CardKind) -> str:
    settings, resolved = record.get("settings", {}), record.get("resolved", {})
    limit = resolved.get("max_length")
    cut = f" at {limit:,} tokens" if limit else ""
    one = (
        '{"text": "a text", "text_pair": "its pair"}'
        if resolved.get("text_pair_column")
        else ('"a text"')
    )
    lines = [
        f"`MODEL` is this folder, or its name on the Hub. With lasttoken, {kind.columns} "
        "beside a file's own columns:",
        "```bash\nlasttoken predict MODEL texts.csv --output labels.csv\n```",
        "With transformers alone:",
        "```python\nfrom transformers import pipeline\n\n"
        'classify = pipeline("text-classification", "MODEL")\n'
        f"classify({one}, {kind.arguments}truncation=True)\n```",
        _LONG_TEXTS[settings.get("long", "cut-end")].format(cut=cut) + kind.plain,
    ]
    if settings.get("template"):
        lines.append(
            f"Every text is read inside the template “{text(settings['template'])}”: the saved "
            "tokenizer puts its words there, so give the text alone."
        )
    if settings.get("fix_text"):
        lines.append(
            "Broken Unicode was repaired in training (ftfy). lasttoken does so at prediction too; "
            "with transformers alone, call `ftfy.fix_text` on each text."
        )
    return "\n\n".join(lines)


def _results(metrics: Mapping[str, Any], kind: CardKind) -> str:
    test = metrics["test"]
    lines = [
        text(metrics["verdict"], limit=None),
        f"On {tested(test['num_examples'])}, scored once; in brackets, 95 % intervals:",
        table(*_score_table(metrics, kind)),
    ]
    return "\n\n".join([*lines, *kind.details(metrics)])


def _score_table(
    metrics: Mapping[str, Any], kind: CardKind
) -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    """Return the model's scores above its baselines': head and rows."""
    key, form = kind.headline.key, kind.form
    rows = [["this model", *(scored(metrics["test"], name, form) for name in kind.scores), ""]]
    for name, each in metrics["baselines"].items():
        if key in each:  # else it could not be made, which the verdict tells
            low, high = each["difference"][f"{key}_interval"]
            gain = (
                f"{form(each['difference'][key], True)} ({form(low, True)} to {form(high, True)})"
            )
            rows.append(
                [BASELINE_NAMES[name], *(scored(each, score, form) for score in kind.scores), gain]
            )
    return ["", *kind.scores.values(), kind.gained], rows


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
    resolved = record.get("resolved", {})
    for name, given in record.get("settings", {}).items():
        value = resolved.get(name, given) if given is None else given
        shown = _shown(record, name) if name in _PATHS else value
        if isinstance(shown, bool):
            shown = "yes" if shown else "no"
        if shown not in (None, ""):
            yield text(name.replace("_", " ")), text(str(shown))
    results = record.get("results", {})
    if "precision" in resolved:
        yield "computed in", text(f"{resolved['precision']} on {resolved.get('device', '?')}")
    if "kept_epoch" in results:
        yield "kept epoch", str(results["kept_epoch"])
    if "num_trainable_weights" in results:
        yield (
            "weights that learn",
            f"{results['num_trainable_weights']:,} of {results['num_weights']:,}",
        )
    for name, version in record.get("versions", {}).items():
        yield text(name), text(str(version))
