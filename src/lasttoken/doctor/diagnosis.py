"""From an examination to plain words: does padding matter, how was it trained, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lasttoken.data.findings import Finding, by_severity
from lasttoken.doctor.answers import Answers
from lasttoken.doctor.arrangements import ALONE, LEFT, RIGHT
from lasttoken.doctor.examine import PACKED, Examination
from lasttoken.evaluation.intervals import CONFIDENCE
from lasttoken.evaluation.paired import rights_difference

_MOST_NAMED = 3  # ways of padding that are as good as each other

# What `--repair` mends; `repair.why_not_sound` asks for the same.
_MENDED = "lasttoken doctor {folder} --repair NEW"


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
    findings = by_severity(_findings(found))
    best = as_good_as_best(found)
    return Diagnosis(_verdict(found), _trained(found, best), _advice(found, best), findings)


def as_good_as_best(found: Examination) -> list[Answers]:
    """Return the ways of padding that chance does not tell from the most accurate, best first.

    What gives the answers of texts alone stands for itself once, as texts alone. Empty without
    labels.

    Source:
        Paired 95 % intervals of the difference in accuracy, see `evaluation.paired`.
    """
    scored = [
        (answers, answers.score.accuracy, answers.right)
        for name, answers in found.answers.items()
        if answers.score is not None
        and answers.right is not None
        and (name == ALONE.name or not answers.is_same)
        and name != PACKED  # nobody trained with it but lasttoken, whose texts start at 0 too
    ]
    if not scored:
        return []
    scored.sort(key=lambda each: -each[1])
    most_right = scored[0][2]
    return [
        answers
        for answers, _, right in scored
        if rights_difference(most_right, right, CONFIDENCE).interval[0] <= 0
    ]


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
            f"{found.facts.padding_side}, and {worse.title}, {_other(worse, found)}."
        )
    changed = [answers for answers in _changed(found) if answers.name != PACKED]
    if not changed:
        return "Its predictions do not depend on padding, on either side."
    worst = max(changed, key=lambda answers: (answers.num_other, answers.largest_change))
    return (
        "Its predictions do not depend on padding as the folder is (its tokenizer pads on the "
        f"{found.facts.padding_side}); in a program that lays them {worst.title}, "
        f"{_other(worse=worst, found=found)}."
    )


def _other(worse: Answers, found: Examination) -> str:
    """Return "9 of 40 texts get another label than alone, a probability moves by up to 0.41"."""
    moved = f"moves by up to {worse.largest_change:.2f}"
    if worse.num_other:
        return (
            f"{worse.num_other:,} of {found.num_texts:,} texts get another answer than alone (a "
            f"score {moved})"
        )
    return f"all labels stay, but a score {moved}"


def _scored(answers: Answers) -> str:
    """Return "0.870 (0.816 to 0.910)"."""
    if answers.score is None:
        return "unknown"
    low, high = answers.score.interval
    return f"{answers.score.accuracy:.3f} ({low:.3f} to {high:.3f})"


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
    scored = [a for a in found.answers.values() if a.score is not None]
    if alone in best:
        worst = min(scored, key=lambda answers: answers.score.accuracy if answers.score else 1.0)
        if worst in best or worst.is_same:
            return (
                f"Which padding it was trained with cannot be told from {found.num_texts:,} "
                f"examples: accuracy is about {_scored(alone)} with each."
            )
        return (
            "It was trained on texts that begin at the first position (padded on the right, "
            f"packed, or one at a time): accuracy {_scored(alone)}; {worst.title} "
            f"{_scored(worst)}."
        )
    over = best[0].score.over_alone if best[0].score is not None else None
    low, high = over.interval if over is not None else (0.0, 0.0)
    share = over.share if over is not None else 0.0
    return (
        f"It was trained on texts {_titles(best)}, without position_ids, as far as what was tried "
        f"tells: accuracy {_scored(best[0])}. Each text alone has {_scored(alone)}, "
        f"{100 * share:.1f} points less ({100 * low:.1f} to {100 * high:.1f})."
    )


def _advice(found: Examination, best: list[Answers]) -> tuple[str, ...]:
    mend = _MENDED.format(folder=found.folder)
    alone = found.answers[ALONE.name]
    needs_mending = any(finding.severity != "note" for finding in _findings(found))
    if best and alone not in best:
        return (
            f"until it is trained anew, lay texts as in training: {best[0].title}, without "
            "position_ids",
            f"{mend} writes a folder whose answers do not depend on the batch; its accuracy is "
            f"that of texts alone, {_scored(alone)}",
            "train that folder further, on padding that does not matter: lasttoken train DATA "
            "--model NEW",
        )
    if not needs_mending:
        if len(_changed(found)) == 0:
            return ("nothing has to be done",)
        return (
            "nothing has to be done; programs of your own that pad on the left must pass "
            "position_ids",
        )
    return (f"{mend} writes a folder without these faults; its answers are those of texts alone",)


def _findings(found: Examination) -> Iterator[Finding]:
    facts, own = found.facts, found.answers[found.own]
    mend = _MENDED.format(folder=found.folder)
    if facts.head_pad_id is None:
        yield Finding(
            "no_pad_id",
            "error",
            "config.json has no pad_token_id: stock heads refuse batches of more than one text",
            mend,
        )
    elif facts.head_pad_id != facts.fill_id:
        yield Finding(
            "pad_ids_differ",
            "error",
            f"texts are padded with token {facts.fill_id}, but the head takes token "
            f"{facts.head_pad_id} for padding (config.json): padded on the right, it reads padding",
            mend,
        )
    neighbor = found.answers[f"{found.own}_long_neighbor"]
    if not own.fault and not (own.is_same and neighbor.is_same):
        worse = max((own, neighbor), key=lambda answers: answers.num_other)
        yield Finding(
            "depends_on_batch",
            "error",
            f"{worse.title}, as its own tokenizer pads: {_other(worse, found)}",
            mend,
            worse.num_other,
        )
    packed = found.answers[PACKED]
    if not packed.is_same:
        yield Finding(
            "packed_differs",
            "error",
            f"lasttoken reads the last token that the tokenizer makes, the stock head another: "
            f"{_other(packed, found)}",
            "save a pad token that no text ends in, or a tokenizer that adds no end-of-text token",
            packed.num_other,
        )
    end = found.end_of_text
    if end.becomes_token and end.is_read_early:
        yield Finding(
            "end_of_text",
            "warning",
            f"a text that ends in {end.marker} is read one token early: the tokenizer makes its "
            "end-of-text token of these letters, which the head takes for padding",
            mend,
        )
    if facts.labels_are_unnamed:
        yield Finding(
            "unnamed_labels",
            "warning",
            f"labels are called {', '.join(facts.labels[:3])}: nobody named them",
            f"{mend} --labels NAME,NAME (in the order of their ids)",
        )
    limit, positions = facts.tokenizer_limit, facts.num_positions
    if positions is not None and (limit is None or limit > positions):
        says = "names no length" if limit is None else f"cuts texts at {limit:,} tokens"
        yield Finding(
            "no_limit",
            "warning",
            f"the tokenizer {says}, the model has {positions:,} positions: longer texts fail in "
            "programs that trust it",
            mend,
        )
    yield from _notes(found)


def _notes(found: Examination) -> Iterator[Finding]:
    facts = found.facts
    left = found.answers[LEFT.name]
    if found.own == RIGHT.name and not left.is_same and not left.fault:
        yield Finding(
            "left_padding",
            "note",
            f"padded on the left without position_ids, {_other(left, found)}",
            "pad on the right, or pass position_ids",
            left.num_other,
        )
    if facts.saved_padding:
        yield Finding(
            "saved_padding",
            "note",
            f"tokenizer.json was saved by a program that padded {facts.saved_padding}",
            "nothing to do",
        )
    if facts.reading_path != PACKED:
        yield Finding(
            "not_packed",
            "note",
            "lasttoken reads this family padded on the right: packing it was not proved",
            "nothing to do",
        )
    if found.num_empty:
        yield Finding(
            "empty_texts",
            "note",
            f"{found.num_empty:,} texts have no token and were left out: stock models fail on them",
            "leave empty texts out",
            found.num_empty,
        )
    scores = [a.score.interval[1] for a in found.answers.values() if a.score is not None]
    if found.majority is not None and scores and max(scores) < found.majority:
        yield Finding(
            "below_majority",
            "warning",
            f"no padding reaches {found.majority:.3f}, which the commonest label alone has",
            "check that DATA is of the task it was trained for, and --labels their order",
        )
