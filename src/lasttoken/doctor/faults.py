"""What is wrong in a folder, or worth knowing: one finding each, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from lasttoken.data.findings import Finding
from lasttoken.doctor.answers import Answers
from lasttoken.doctor.arrangements import LEFT, RIGHT
from lasttoken.doctor.examine import PACKED, Examination

# What `--repair` mends; `repair.why_not_sound` asks for the same.
MEND = "lasttoken doctor {folder} --repair NEW"


def find_faults(found: Examination) -> Iterator[Finding]:
    """Yield what was found: errors and warnings are to be mended, notes are worth knowing."""
    facts, own = found.facts, found.answers[found.own]
    mend = MEND.format(folder=found.folder)
    if facts.pad_token is None:
        yield Finding(
            "no_pad_token",
            "error",
            "its tokenizer has no pad token: programs that classify several texts at once fail "
            "(here end-of-text stood in)",
            mend,
        )
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
            f"{worse.title}, as its own tokenizer pads: {tell_change(worse, found)}",
            mend,
            worse.num_other,
        )
    packed = found.answers[PACKED]
    if not packed.is_same:
        yield Finding(
            "packed_differs",
            "error",
            f"lasttoken reads the last token that the tokenizer makes, the stock head another: "
            f"{tell_change(packed, found)}",
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
            f"padded on the left without position_ids, {tell_change(left, found)}",
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
    if found.num_cut:
        yield Finding(
            "cut_texts",
            "note",
            f"{found.num_cut:,} texts have more than {facts.max_length:,} tokens and were cut",
            "nothing to do",
            found.num_cut,
        )
    if found.num_empty:
        yield Finding(
            "empty_texts",
            "note",
            f"{found.num_empty:,} texts have no token and were left out: stock models fail on them",
            "leave empty texts out",
            found.num_empty,
        )
    special = [names for names in found.special_inside if names]
    if special:
        yield Finding(
            "special_tokens",
            "note",
            f"{len(special):,} texts hold {', '.join(sorted(frozenset().union(*special)))}, of "
            "which its tokenizer makes special tokens; lasttoken reads these names as text",
            "nothing to do, if they came with the texts; if training put them there on purpose, "
            "classify with transformers",
            len(special),
        )
    if found.majority is not None and not is_better_than_majority(found):
        yield Finding(
            "below_majority",
            "warning",
            "under no padding is it clearly better than the commonest label alone "
            f"({found.majority:.3f})",
            "check that DATA is of the task it was trained for, and --labels in the order of ids",
        )


def is_better_than_majority(found: Examination) -> bool:
    """Return whether the interval of some arrangement lies above the share of the commonest label.

    Where none does, labels in another order, or of another task, are likelier than a weak model.
    """
    lows = [a.score.interval[0] for a in found.answers.values() if a.score is not None]
    return found.majority is None or not lows or max(lows) > found.majority


def tell_change(worse: Answers, found: Examination) -> str:
    """Return "9 of 40 texts get another label than alone, a probability moves by up to 0.41"."""
    moved = f"moves by up to {worse.largest_change:.2f}"
    if worse.num_other:
        return (
            f"{worse.num_other:,} of {found.num_texts:,} texts get another answer than alone (a "
            f"score {moved})"
        )
    return f"all labels stay, but a score {moved}"
