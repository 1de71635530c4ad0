"""Who takes part: entry points, and the settings of everyone but lasttoken (`recipes.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.quality.cells import Cell, read
from benchmarks.quality.recipes import NEEDS_TRAINER, RECIPES, Facts
from benchmarks.quality.sets import FEW, MULTI, SETS, SINGLE

DECODER, ENCODER = "decoder", "encoder"
TRAINER = "trainer"
CHOICE_SEED = 1

# The Trainer's grid. Every pair is tried once a set and size, with the first seed, and the best on
# validation runs with every seed. Of 4,000 examples, where a pair takes a quarter of an hour, more
# than two epochs are not tried; 8,000 take what 4,000 chose.
# Batches of its own: small ones where there are few examples.
RATES = (5e-5, 1e-4)
EPOCHS: Mapping[str, tuple[int, ...]] = {str(FEW): (4, 10), "500": (2, 4), "4000": (2,)}
CHOSEN_AT: Mapping[str, str] = {"8000": "4000"}
BATCHES: Mapping[str, int] = {str(FEW): 8, "500": 16}
_BATCH = 32

# SetFit's own default of 20 pairs an example (Tunstall et al. 2022) for few examples; a quarter of
# them for 500, where all pairs would take longer than everyone else.
PAIRS: Mapping[str, int] = {str(FEW): 20, "500": 5}


class NotReadyError(RuntimeError):
    """A cell waits for another one, or its contender takes no part in it; the text says why."""


@dataclass(frozen=True)
class Entrant:
    """One contender.

    Attributes:
        shown: as shown in tables.
        entry: "module:function".
        model: whose folder the job names; None reads no model.
        kind: "bf16" or "reduced", as in other programs.
        environment: of `environments.py`; None is ours.
        tasks: that it takes.
        sizes: that it takes; None takes all.
        seconds: of one pass over a character of training text, for the plan's estimate; a
            text that is only read costs a third.
    """

    shown: str
    entry: str
    model: str | None
    kind: str
    seconds: float
    environment: str | None = None
    tasks: tuple[str, ...] = (SINGLE, MULTI)
    sizes: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


_SIZES = (str(FEW), "500", "4000", "8000")
_TUNED = {"style": "tuned", "precision": "bf16"}

CONTENDERS: dict[str, Entrant] = {
    TRAINER: Entrant(
        "Trainer, tuned",
        *("benchmarks.peers.trainer:fit_probs", DECODER, "bf16", 5.5e-4),
        sizes=_SIZES,
        settings=_TUNED,
    ),
    **{
        name: Entrant(
            name,
            "benchmarks.ours:fit_probs",
            DECODER,
            "bf16",
            4e-4,
            settings={"precision": "bf16"},
            sizes=_SIZES if name in NEEDS_TRAINER else None,
        )
        for name in RECIPES
    },
    "minilm-trainer": Entrant(
        "MiniLM fine-tuned",
        *("benchmarks.peers.trainer:fit_probs", ENCODER, "bf16", 6e-5),
        sizes=_SIZES,
        settings={**_TUNED, "max_length": 256},
    ),
    "minilm-lr": Entrant(
        "MiniLM + logistic regression",
        *("benchmarks.peers.encoder:fit_logistic", ENCODER, "reduced", 3e-5),
        sizes=_SIZES,
        settings={"precision": "bf16"},
    ),
    "setfit": Entrant(
        "SetFit on MiniLM",
        *("benchmarks.peers.setfit:fit", ENCODER, "reduced", 2.5e-4),
        environment="setfit",
        tasks=(SINGLE,),
        sizes=tuple(PAIRS),
    ),
    "tfidf": Entrant(
        "TF-IDF + logistic regression",
        *("benchmarks.peers.tfidf:fit_logistic", None, "reduced", 5e-6),
        sizes=_SIZES,
    ),
}
TUNED = tuple(name for name, each in CONTENDERS.items() if "style" in each.settings)


def takes_part(contender: str, data: str, size: str) -> bool:
    """Return whether a contender runs on a data set at a size."""
    entrant = CONTENDERS[contender]
    return SETS[data].task in entrant.tasks and size in (entrant.sizes or (size,))


def is_taken_over(cell: Cell) -> bool:
    """Return whether a cell's record is that of a run which was made to choose."""
    is_final = cell.contender in TUNED and not cell.candidate
    return is_final and cell.seed == CHOICE_SEED and cell.size not in CHOSEN_AT


def candidates(cell: Cell) -> list[Cell]:
    """Return the runs among which a tuned contender's settings are chosen; none for others."""
    if cell.contender not in TUNED or cell.candidate:
        return []
    size = _chosen_at(cell)
    names = [f"{rate:g}x{epochs}" for epochs in EPOCHS[size] for rate in RATES]
    return [Cell(cell.data, size, CHOICE_SEED, cell.contender, name) for name in names]


def _chosen_at(cell: Cell) -> str:
    """Return the size at which a cell's settings are chosen."""
    return CHOSEN_AT.get(cell.size, cell.size)


def best_of(tried: Sequence[Cell]) -> Cell:
    """Return the candidate of the best validation score, of equals the one of fewer seconds.

    Raises:
        NotReadyError: a candidate has not run.
    """
    records = {candidate: read(candidate) for candidate in tried}
    missing = [candidate.candidate for candidate, record in records.items() if record is None]
    if missing:
        raise NotReadyError(f"{', '.join(missing)} did not run")
    order = {c: (r["validation"], -r["seconds"]) for c, r in records.items() if r is not None}
    return max(order, key=lambda candidate: order[candidate])


def _tuned_settings(cell: Cell) -> dict[str, Any]:
    """Return rate and epochs of a candidate, or of the one that was chosen."""
    candidate = cell if cell.candidate else best_of(candidates(cell))
    rate, _, epochs = candidate.candidate.partition("x")
    batch = BATCHES.get(cell.size, _BATCH)
    return {"learning_rate": float(rate), "epochs": int(epochs), "batch_size": batch}


def settings_of(cell: Cell, facts: Facts) -> dict[str, Any]:
    """Return everything that decides a cell but its examples.

    Raises:
        NotReadyError: it depends on a cell that has not run.
    """
    entrant = CONTENDERS[cell.contender]
    settings: dict[str, Any] = {**entrant.settings, "seed": cell.seed}
    if cell.contender in TUNED:
        return {**settings, **_tuned_settings(cell)}
    if cell.contender == "setfit":
        return {**settings, "num_iterations": PAIRS[cell.size], "num_epochs": 1, "batch_size": 16}
    if cell.contender in RECIPES:
        options = dict(RECIPES[cell.contender](facts))
        # `benchmarks.ours` takes the batch size apart, and the options as they are.
        settings["batch_size"] = options.pop("batch_size", 32)
        settings["options"] = {**options, "seed": settings.pop("seed")}
    return settings


def trainer_facts(cell: Cell) -> dict[str, Any] | None:
    """Return settings and seconds of the Trainer's run beside a cell, if its recipe needs them.

    Raises:
        NotReadyError: the Trainer has not run.
    """
    if cell.contender not in NEEDS_TRAINER:
        return None
    record = read(Cell(cell.data, cell.size, cell.seed, TRAINER))
    if record is None:
        raise NotReadyError("it needs the Trainer's run of the same cell")
    return {**record["settings"], "seconds": record["seconds"]}


def passes(cell: Cell, settings: Mapping[str, Any] | None) -> float:
    """Return about how often a cell reads its training texts in training, in whole passes."""
    if cell.contender in TUNED:
        if settings:
            return float(settings["epochs"])
        return float(cell.candidate.partition("x")[2] or EPOCHS[_chosen_at(cell)][-1])
    if cell.contender == "setfit":
        return 4.0 * PAIRS[cell.size]  # pairs of both kinds, two texts each
    return (
        float(settings["options"].get("num_epochs") or 3)
        if settings and "options" in settings
        else 3.0
    )
