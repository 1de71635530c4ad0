"""From an examination to plain words: does padding matter, how was it trained, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.findings import Finding, by_severity
from lasttoken.doctor.answers import Answers
from lasttoken.doctor.arrangements import ALONE, ALWAYS
from lasttoken.doctor.examine import PACKED, Examination
from lasttoken.doctor.faults import MEND, find_faults, is_better_than_majority, tell_change
from lasttoken.evaluation.intervals import CONFIDENCE

_MOST_NAMED = 3  # ways of padding that are as good as each other

# By how much more log loss, of the least, an arrangement must have to be called another than the
# training's. Positions that training met often are read better than others, so what was padded on
# the right can be a little better off shifted: measured 0.09 (docs/log.md).
_LEAST_LOSS = 0.2

# Nobody trains so: these show what padding does. What is trained with position_ids, or by
# lasttoken, begins at the first position as texts alone do.
_NO_TRAINING = {f.name for f in ALWAYS if f.long_neighbor or f.with_positions} | {PACKED}


@dataclass(frozen=True)
class Diagnosis:
    """What an examination means.

    Attributes:
        verdict: whether predictions depend on padding.
        trained: which padding it was trained with, as far as can be told.
        advice: what to do, in order.
        findings: faults of the folder, the worst first.
    """

    verdict: str
    trained: str
    advice: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Return whether nothing was found that has to be mended."""
        return all(finding.severity == "note" for finding in self.findings)


def diagnose(found: Examination) -> Diagnosis:
    """Say in plain words what an examination found."""
    findings = by_severity(find_faults(found))
    best = as_good_as_best(found)
    trained = _trained(found, best)
    if best and not is_better_than_majority(found):
        best = []
        trained = (
            "Which padding it was trained with cannot be told: under no padding is it clearly "
            f"better than the commonest label alone ({found.majority:.3f})."
        )
    return Diagnosis(_verdict(found), trained, _advice(found, best, findings), findings)


def as_good_as_best(found: Examination) -> list[Answers]:
    """Return the ways of padding that chance does not tell from the best, best first.

    Empty without labels. The best has the least log loss: it tells ways apart that are right
    equally often, by how well their answers fit the labels. What has less than a fifth more is as
    good, however many examples there are.

    Source:
        Student's paired intervals of the difference in log loss; 95 % for all of them together, by
        Bonferroni's rule, because the best of many is partly luck.
    """
    ways = _ways_of_training(found)
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(ways) - 1)
    losses = [(way, way.losses) for way in ways if way.losses is not None]
    return [way for way, lost in losses if not _is_clearly_above(lost, losses[0][1], confidence)]


def _is_clearly_above(
    losses: NDArray[np.float64], least: NDArray[np.float64], confidence: float
) -> bool:
    """Return whether paired losses, (N,) each, are above the least, by chance and by much.

    Of fewer than two examples there is no interval.
    """
    from scipy.stats import t

    over, count = losses - least, len(losses)
    if count < 2:
        return False
    reach = t.ppf((1 + confidence) / 2, count - 1) * over.std(ddof=1) / np.sqrt(count)
    return bool(over.mean() > max(reach, _LEAST_LOSS * least.mean()))


def _ways_of_training(found: Examination) -> list[Answers]:
    """Return what trainings do and labels have judged, the best first.

    What gives the answers of texts alone stands for itself once, as texts alone.
    """
    ways = [
        (answers.score.log_loss, answers)
        for name, answers in found.answers.items()
        if answers.score is not None
        and (name == ALONE.name or not answers.is_same)
        and name not in _NO_TRAINING
    ]
    return [answers for _, answers in sorted(ways, key=itemgetter(0))]


def _changed(found: Examination) -> list[Answers]:
    return [a for a in found.answers.values() if not a.is_same and not a.fault]


def _verdict(found: Examination) -> str:
    own = found.answers[found.own]
    beside = found.answers[f"{found.own}_long_neighbor"]
    fault = found.batch_fault or own.fault
    if fault:
        return f"Several texts at once are refused by transformers as the folder is: {fault}"
    if not own.is_same or not beside.is_same:
        worse = max((own, beside), key=lambda answers: (answers.num_other, answers.largest_change))
        return (
            f"Its predictions depend on padding as the folder is: its tokenizer pads on the "
            f"{found.facts.padding_side}, and {worse.title}, {tell_change(worse, found)}."
        )
    changed = [answers for answers in _changed(found) if answers.name != PACKED]
    if not changed:
        return "Its predictions do not depend on padding, on either side."
    worst = max(changed, key=lambda answers: (answers.num_other, answers.largest_change))
    return (
        "Its predictions do not depend on padding as the folder is (its tokenizer pads on the "
        f"{found.facts.padding_side}); in a program that lays them {worst.title}, "
        f"{tell_change(worse=worst, found=found)}."
    )


def _scored(answers: Answers) -> str:
    """Return "0.870 (0.816 to 0.910), log loss 0.312"."""
    if answers.score is None:
        return "unknown"
    low, high = answers.score.interval
    return (
        f"{answers.score.accuracy:.3f} ({low:.3f} to {high:.3f}), log loss "
        f"{answers.score.log_loss:.3f}"
    )


def _titles(answers: list[Answers]) -> str:
    titles = [each.title for each in answers[:_MOST_NAMED]]
    more = len(answers) - len(titles)
    return " or ".join(titles) + (f" ({more} more are as good)" if more else "")


def _trained(found: Examination, best: list[Answers]) -> str:
    if not _changed(found):
        return (
            "Which padding it was trained with cannot be told, and need not: all give the same "
            "answers."
        )
    if not best:
        return (
            "Which padding it was trained with can be told with labels alone: give DATA with "
            "labels, some hundred examples."
        )
    alone = found.answers[ALONE.name]
    others = [way for way in _ways_of_training(found) if way is not alone]
    if not others:
        return (
            "Which padding it was trained with cannot be told from these texts: laid as trainings "
            "lay them, they are answered as alone."
        )
    equals = [way for way in best if way is not alone]
    if alone in best and equals and not found.facts.is_ours:
        return (
            f"Which padding it was trained with cannot be told from {found.num_texts:,} examples: "
            f"each text alone has accuracy {_scored(alone)}, and, as far as can be told, as good "
            f"is {_titles(equals)}, {_scored(equals[0])}. More examples may tell (--limit)."
        )
    if alone in best:
        how = "padded on the right, packed, one at a time, or on the left with position_ids"
        if found.facts.is_ours:
            how = "by lasttoken, as its lasttoken.json says; what was seen does not gainsay it"
        return (
            f"It was trained on texts that begin at the first position ({how}): accuracy "
            f"{_scored(alone)}; the next best, {others[0].title}, has {_scored(others[0])}."
        )
    over = best[0].score.over_alone if best[0].score is not None else None
    low, high = over.interval if over is not None else (0.0, 0.0)
    share = over.share if over is not None else 0.0
    return (
        f"It was trained on texts {_titles(best)}, without position_ids, as far as what was tried "
        f"tells: accuracy {_scored(best[0])}. Each text alone has {_scored(alone)}: "
        f"{100 * share:.1f} points of accuracy less ({100 * low:.1f} to {100 * high:.1f})."
    )


def _advice(
    found: Examination, best: list[Answers], findings: tuple[Finding, ...]
) -> tuple[str, ...]:
    mend = MEND.format(folder=found.folder)
    alone = found.answers[ALONE.name]
    faults = [finding for finding in findings if finding.severity != "note"]
    needs_mending = any(fault.kind != "below_majority" for fault in faults)
    if any(fault.kind == "packed_differs" for fault in faults):
        return (
            "lasttoken reads it otherwise than it was trained: use it with transformers alone, one "
            "text at a time, or train it anew: lasttoken train DATA --model " + str(found.folder),
        )
    if best and alone not in best:
        until = (
            f"until it is trained anew, lay texts as in training: {best[0].title}, without "
            "position_ids"
        )
        if not needs_mending:
            return (
                until,
                "train it further, on padding that does not matter: lasttoken train DATA --model "
                + str(found.folder),
            )
        return (
            until,
            f"{mend} writes a folder whose answers do not depend on the batch; its accuracy is "
            f"that of texts alone, {_scored(alone)}",
            "train that folder further, on padding that does not matter: lasttoken train DATA "
            "--model NEW",
        )
    if not needs_mending:
        if faults:
            return (faults[0].remedy,)
        if len(_changed(found)) == 0:
            return ("nothing has to be done",)
        return (
            "nothing has to be done; programs of your own that pad on the left must pass "
            "position_ids",
        )
    return (f"{mend} writes a folder without these faults; its answers are those of texts alone",)
