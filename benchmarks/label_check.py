"""Does the label check find labels that were made wrong on purpose, and what else does it list?

    LASTTOKEN_BENCH_DATA=FOLDER python -m benchmarks.label_check

SmolLM2 on movie reviews, and on trec6, sms_spam and rt_polarity where FOLDER holds them, each a
folder with train, validation and test. One label in ten, drawn at random, becomes another one,
drawn at random. The list is compared with as many examples of the largest held-out loss. Labels
that were wrong before count as right here, so true precision is higher.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from benchmarks.measure import SMOKE, Results, figure
from benchmarks.options import quick_option

RATE = 0.1
SEEDS = (1, 2)
MOST_EXAMPLES = 200 if SMOKE else 4_000
SETS = ("movie-reviews", "trec6", "sms_spam", "rt_polarity")
KEYS = ("listed", "precision", "precision_of_loss", "recall", "noise_rate", "out_of_fold_accuracy")
FILTERS = ("low_self_confidence", "low_normalized_margin", "confident_learning", "both",
           "prune_by_class", "prune_by_noise_rate")  # fmt: skip


def main() -> None:
    """Plant and look, set after set."""
    if quick_option(__doc__):
        print("takes half an hour: not part of a quick run")
        return
    results = Results("label_check", quick=False)
    folder = os.environ.get("LASTTOKEN_BENCH_DATA")
    for name in SETS:
        source = name if name == "movie-reviews" else os.path.join(folder or "", name)
        if source != name and not (folder and os.path.isdir(source)):
            results.add(name, {}, {name: {"skipped": "LASTTOKEN_BENCH_DATA does not hold it"}})
            continue
        trials = []
        for seed in SEEDS[:1] if SMOKE else SEEDS:
            part = f"{name} seed {seed}"
            if not results.has(part):
                results.add(part, _trials(source, seed), {})
            trials += results.parts[part]
        figures = {}
        for blocks in sorted({trial["num_depths"] for trial in trials}):
            chosen = [trial for trial in trials if trial["num_depths"] == blocks]
            for key in KEYS:
                figures[f"{name} / {blocks} blocks / {key}"] = figure([t[key] for t in chosen])
        results.add(name, {"trials": len(trials)}, figures)
    results.save()


def _trials(source: str, seed: int) -> list[dict[str, Any]]:
    """Return what is found with the mean of several blocks; once, with the best one alone too."""
    from benchmarks.models import gpt2_folder, smollm2_folder
    from lasttoken import TextClassifier
    from lasttoken.data.examples import fold_text
    from lasttoken.data.readers import read_labeled
    from lasttoken.evaluation.label_issues import find_label_issues
    from lasttoken.training.out_of_fold import NUM_DEPTHS, out_of_fold_probs

    rng = np.random.default_rng(seed)
    examples = read_labeled(source).all_examples()
    examples = [examples[i] for i in sorted(rng.permutation(len(examples))[:MOST_EXAMPLES])]
    model = gpt2_folder(0.0) if SMOKE else smollm2_folder()
    prepared = TextClassifier(str(model)).prepare(examples, examples[:1])
    labels = prepared.loaded.classifier.labels
    given = labels.encode(str(example.label) for example in examples).numpy()
    flipped = rng.permutation(len(given))[: round(RATE * len(given))]
    given[flipped] += rng.integers(1, labels.num_logits, len(flipped))
    given %= labels.num_logits
    is_flipped = np.isin(np.arange(len(given)), flipped)
    _, copy_of = np.unique([fold_text(e.text) for e in examples], return_inverse=True)
    trials = []
    for num_depths in (NUM_DEPTHS, 1) if seed == SEEDS[0] else (NUM_DEPTHS,):
        judged = out_of_fold_probs(
            prepared.loaded.classifier,
            prepared.training.texts,
            given,
            copy_of,
            device=prepared.settings.device,
            precision=prepared.settings.precision,
            seed=seed,
            num_depths=num_depths,
        )
        found = find_label_issues(given, judged.probs, labels.labels, seed=seed)
        by_loss = np.argsort(judged.probs[np.arange(len(given)), given], kind="stable")
        listed = np.array([issue.index for issue in found.issues], dtype=int)
        trials.append(
            {
                "seed": seed,
                "num_depths": num_depths,
                "depths": judged.depths,
                "examples": len(given),
                "planted": len(flipped),
                "out_of_fold_accuracy": float(np.mean(judged.probs.argmax(axis=1) == given)),
                "noise_rate": found.noise_rate,
                "noise_rate_interval": found.noise_rate_interval,
                **_scores(listed, by_loss, is_flipped),
                "filters": _filters(given, judged.probs, by_loss, is_flipped),
            }
        )
    return trials


def _filters(
    given: np.ndarray, probs: np.ndarray, by_loss: np.ndarray, is_flipped: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return what each of cleanlab's filters lists."""
    from cleanlab.filter import find_label_issues

    return {
        name: _scores(
            np.flatnonzero(find_label_issues(given, probs, filter_by=name, n_jobs=1)),
            by_loss,
            is_flipped,
        )
        for name in FILTERS
    }


def _scores(listed: np.ndarray, by_loss: np.ndarray, is_flipped: np.ndarray) -> dict[str, float]:
    size = max(1, len(listed))
    return {
        "listed": len(listed),
        "precision": float(is_flipped[listed].sum()) / size,
        "precision_of_loss": float(is_flipped[by_loss[: len(listed)]].sum()) / size,
        "recall": float(is_flipped[listed].sum() / is_flipped.sum()),
    }


if __name__ == "__main__":
    main()
