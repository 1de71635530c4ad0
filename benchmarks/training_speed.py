"""How fast is a training step, per real token, beside the peers' steps?

    python -m benchmarks.training_speed [--quick]

GPT-2 124M. Against the tutorial and defaults everyone has dropout 0.1; against the tuned Trainer
nobody has any.
"""

from __future__ import annotations

from typing import Any

from benchmarks.driver import Contender, Measured, compare
from benchmarks.limits import percent_of_limit
from benchmarks.measure import REPEATS, SMOKE, Results, figure, ratio_figure, seconds_per_token
from benchmarks.models import gpt2_folder, texts_file
from benchmarks.options import quick_option

TRAINER = "benchmarks.peers.trainer:train"
OURS = "benchmarks.ours:train"
ROUND = 50  # batches that group by length orders at a time, from long to short


def ours(precision: str, job: dict[str, Any], *, limits: bool = False) -> Contender:
    """Return lasttoken as a contender."""
    return Contender(
        f"lasttoken {precision}", OURS, precision, {**job, "precision": precision}, limits=limits
    )


def tuned(precision: str, job: dict[str, Any], *, steps: int = ROUND) -> Contender:
    """Return the tuned Trainer as a contender.

    Args:
        precision: "fp32" or "bf16".
        job: model, texts, batch size.
        steps: granted at a time: one round of its sampler, or a sample of one (5 steps).
    """
    job = {**job, "style": "tuned", "precision": precision}
    if steps < ROUND:
        job["sample_every"] = ROUND // steps
    return Contender(f"Trainer tuned {precision}", TRAINER, precision, job, steps=steps)


# Copies: enough batches in one epoch for all repeats, and full rounds of the sampler.
_SHORT = {"batch_size": 32, "copies": 2}


def published_job() -> dict[str, Any]:
    """Return what is trained beside published settings: short texts, dropout, cut at 60 tokens."""
    job = {"texts": str(texts_file("short")), "model": str(gpt2_folder(0.1)), "max_length": 60}
    return {**_SHORT, **job}


def groups(quick: bool) -> dict[str, tuple[list[Contender], int]]:
    """Return the comparisons: contenders and steps granted at a time."""
    part = 5 if quick else ROUND
    published = published_job()
    plain = {**_SHORT, "texts": published["texts"], "model": str(gpt2_folder(0.0))}
    by_eight = {**plain, "batch_size": 8}
    found: dict[str, tuple[list[Contender], int]] = {}
    found["tuned"] = (
        [ours("bf16", plain, limits=True), tuned("bf16", plain, steps=part)],
        5 if quick else 25,
    )
    peers = [
        Contender(
            "tutorial",
            "benchmarks.peers.tutorial:train",
            "fp32",
            {**published, "precision": "fp32"},
            steps=1 if quick else 8,
        ),
    ]
    if not quick:
        job = {**published, "style": "default", "precision": "fp32"}
        peers += [ours("fp32", published), Contender("Trainer default", TRAINER, "fp32", job)]
    found["published"] = ([ours("bf16", published), *peers], 3 if quick else 8)
    found["tuned fp32"] = (
        [ours("fp32", plain, limits=True), tuned("fp32", plain, steps=part)],
        4 if quick else 25,
    )
    found["batch 8"] = (
        [ours("bf16", by_eight), tuned("bf16", by_eight, steps=part)],
        10 if quick else 50,
    )
    if not quick:
        alone = {**plain, "batch_size": 1, "copies": 1}
        found["batch 1"] = ([ours("bf16", alone), tuned("bf16", alone)], 50)
        for mix, copies in (("medium", 4), ("long", 8)):
            job = {**by_eight, "texts": str(texts_file(mix)), "copies": copies, "max_length": 512}
            found[mix] = ([ours("bf16", job), tuned("bf16", job, steps=10)], 10)
    return found


KEYS = {  # group, our class, peer: the figure's name
    ("published", "bf16", "tutorial"): "train_vs_tutorial",
    ("published", "fp32", "tutorial"): "train_fp32_vs_tutorial",
    ("published", "bf16", "Trainer default"): "train_vs_trainer_default",
    ("published", "fp32", "Trainer default"): "train_fp32_vs_trainer_default",
    ("tuned", "bf16", "Trainer tuned bf16"): "train_vs_tuned",
    ("tuned fp32", "fp32", "Trainer tuned fp32"): "train_fp32_vs_tuned",
    ("batch 8", "bf16", "Trainer tuned bf16"): "train_batch8_vs_tuned",
    ("batch 1", "bf16", "Trainer tuned bf16"): "train_batch1_vs_tuned",
    ("medium", "bf16", "Trainer tuned bf16"): "train_medium_vs_tuned",
    ("long", "bf16", "Trainer tuned bf16"): "train_long_vs_tuned",
}


def figures_of(group: str, measured: dict[str, Measured], model: str) -> dict[str, Any]:
    """Return a comparison's ratios, percents of the limit and rates."""
    figures: dict[str, Any] = {}
    for (of_group, kind, peer), key in KEYS.items():
        mine = measured.get(f"lasttoken {kind}")
        if of_group == group and mine and peer in measured:
            figures[key] = ratio_figure(
                seconds_per_token(measured[peer].segments),
                seconds_per_token(mine.segments),
                our_class=kind,
                peer_class=measured[peer].kind,
            )
    for name, found in measured.items():
        slug = f"{group} / {name}"
        rates = [1 / seconds for seconds in seconds_per_token(found.segments)]
        figures[f"{slug} / tokens per second"] = figure(rates)
        padded = [segment["padded"] / segment["tokens"] for segment in found.segments]
        figures[f"{slug} / padded per real token"] = figure(padded)
        if found.limits:
            best = max(found.limits.values(), key=lambda limits: limits["flops_per_second"])
            percents = [
                percent_of_limit(model, segment, best, training=True) for segment in found.segments
            ]
            for limit in percents[0]:
                figures[f"{slug} / percent of {limit}"] = figure(
                    [percent[limit] for percent in percents], unit="%"
                )
    return figures


def main() -> None:
    """Measure every group."""
    quick = quick_option(__doc__)
    results = Results("training_speed", quick=quick)
    for group, (contenders, steps) in groups(quick or SMOKE).items():
        if results.has(group):
            continue
        print(f"{group}: {', '.join(contender.name for contender in contenders)}", flush=True)
        measured, failed = compare(contenders, steps=steps, repeats=REPEATS)
        details = {name: found.record() for name, found in measured.items()}
        model = contenders[0].job["model"]
        results.add(
            group,
            {"contenders": details, "failed": failed, "steps": steps},
            figures_of(group, measured, model),
        )
    results.save()


if __name__ == "__main__":
    main()
