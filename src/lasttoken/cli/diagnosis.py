"""What `lasttoken doctor` prints: this machine, the table of arrangements, and plain words."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lasttoken.doctor.answers import Answers
from lasttoken.doctor.diagnosis import Diagnosis
from lasttoken.doctor.run import DoctorOutcome, ExaminedModel


def doctor_text(outcome: DoctorOutcome, *, as_json: bool) -> str:
    """Return what was found, as text or as JSON."""
    if as_json:
        return json.dumps(outcome.record(), indent=1, ensure_ascii=False)
    lines = [f"{name:16}{value}" for name, value in outcome.machine.items()]
    if outcome.model is not None:
        lines += ["", *_model_lines(outcome.model), *_diagnosis_lines(outcome.model.diagnosis)]
    if outcome.repaired is not None:
        lines += ["", *_repaired_lines(outcome.repaired)]
    return "\n".join(lines)


def _model_lines(model: ExaminedModel) -> Iterator[str]:
    found, facts, diagnosis = model.examination, model.examination.facts, model.diagnosis
    yield (
        f"{found.folder}: {facts.model_type}, labels {', '.join(facts.labels[:8])}"
        + (" ..." if len(facts.labels) > 8 else "")
    )
    yield (
        f"{found.num_texts:,} texts ({model.source}), up to {found.longest:,} tokens, fp32; "
        "through stock transformers but for the last row"
    )
    width = max(len(answers.title) for answers in found.answers.values()) + 2
    has_scores = any(answers.score is not None for answers in found.answers.values())
    head = f"{'':{width}}{'other labels':>14}{'score moves':>13}"
    yield head + ("   accuracy (95 % interval)  log loss" if has_scores else "")
    for name, answers in found.answers.items():
        mark = "   its own tokenizer" if name == found.own else ""
        yield f"  {answers.title:{width - 2}}{_cells(answers)}{mark}"
    yield diagnosis.verdict


def _diagnosis_lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield diagnosis.trained
    for finding in diagnosis.findings:
        yield f"{finding.severity}: {finding.found}"
        if finding.severity != "note":
            yield f"    do: {finding.remedy}"
    for number, step in enumerate(diagnosis.advice, start=1):
        yield (
            f"what to do, {number}: {step}" if len(diagnosis.advice) > 1 else f"what to do: {step}"
        )


def _repaired_lines(outcome: ExaminedModel) -> Iterator[str]:
    """Tell the new folder; how the weights were trained stands above already."""
    yield f"repaired: {outcome.examination.folder}"
    yield from _model_lines(outcome)
    if outcome.diagnosis.is_sound:
        yield "nothing is left to mend in it"
    for finding in outcome.diagnosis.findings:
        if finding.severity != "note":
            yield f"{finding.severity}: {finding.found}"
            yield f"    do: {finding.remedy}"


def _cells(answers: Answers) -> str:
    if answers.fault:
        return f"  refused: {answers.fault}"
    moves = "-" if answers.is_same else f"{answers.largest_change:.4f}"
    cells = f"{answers.num_other or '-':>14}{moves:>13}"
    if answers.score is not None:
        low, high = answers.score.interval
        cells += f"   {answers.score.accuracy:.3f} ({low:.3f} to {high:.3f})"
        cells += f"{answers.score.log_loss:>11.3f}"
    return cells
