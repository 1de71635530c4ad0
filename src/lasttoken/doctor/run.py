"""`lasttoken doctor`: this machine, a classifier whoever trained it, and a repaired folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lasttoken.config import DoctorConfig
from lasttoken.doctor.diagnosis import Diagnosis, diagnose
from lasttoken.doctor.examine import Examination, examine
from lasttoken.doctor.labeled import Material, label_ids, label_names, read_material
from lasttoken.doctor.machine import machine_facts
from lasttoken.doctor.repair import refuse_target, write_repaired
from lasttoken.errors import BackboneError
from lasttoken.events import EventCallback
from lasttoken.model.inspection import inspect_folder
from lasttoken.model.location import model_folder
from lasttoken.model.record import RECORD_NAME, read_labels


@dataclass(frozen=True)
class ExaminedModel:
    """A classifier that was examined.

    Attributes:
        examination: what was found out.
        diagnosis: what it means.
        source: of the texts, in words.
    """

    examination: Examination
    diagnosis: Diagnosis
    source: str


@dataclass(frozen=True)
class DoctorOutcome:
    """What `lasttoken doctor` found.

    Attributes:
        machine: name to what a person should know.
        model: the classifier as it is; None where none was named.
        repaired: the new folder; None where none was asked for.
    """

    machine: Mapping[str, str]
    model: ExaminedModel | None = None
    repaired: ExaminedModel | None = None

    @property
    def exit_code(self) -> int:
        """Return 1 if something is left to mend, else 0."""
        last = self.repaired or self.model
        return 0 if last is None or last.diagnosis.is_sound else 1

    def record(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {
            "schema_version": 1,
            "machine": dict(self.machine),
            "model": None if self.model is None else _record(self.model),
            "repaired": None if self.repaired is None else _record(self.repaired),
            "exit_code": self.exit_code,
        }


def run_doctor(config: DoctorConfig, *, on_event: EventCallback) -> DoctorOutcome:
    """Look at this machine and, if one is named, at a classifier; repair it if asked to.

    Raises:
        LastTokenError: the model or DATA is not as described; or the repaired folder does not pass
            the examination, and is not written.
    """
    if config.model is None:
        return DoctorOutcome(machine_facts())
    folder = model_folder(config.model)
    inspect_folder(folder)
    spec = read_labels(folder)
    if spec is None:
        raise BackboneError(
            f"{folder}: a language model without a trained classification head",
            expected="a sequence-classification model",
            remedy=f"train one first: lasttoken train DATA --model {config.model}",
        )
    target = None if config.repair is None else Path(config.repair).expanduser()
    if target is not None:
        refuse_target(folder, target)
    names = label_names(config, spec, is_ours=(folder / RECORD_NAME).is_file())
    material = read_material(config, on_event)
    truth = label_ids(material, names, spec, on_event)
    lengths = () if config.padded_length is None else (config.padded_length,)
    found = examine(folder, material.texts, truth, on_event, lengths=lengths)
    repaired = None
    if target is not None:
        again = write_repaired(found, target, material.texts, truth, names, on_event)
        again = dataclasses.replace(again, folder=target)
        repaired = _examined(again, material)
    return DoctorOutcome(machine_facts(), _examined(found, material), repaired)


def _examined(found: Examination, material: Material) -> ExaminedModel:
    return ExaminedModel(found, diagnose(found), material.source)


def _record(model: ExaminedModel) -> dict[str, Any]:
    found = model.examination
    return {
        "folder": str(found.folder),
        "texts": {
            "source": model.source,
            "num_texts": found.num_texts,
            "longest": found.longest,
            "num_empty": found.num_empty,
            "num_cut": found.num_cut,
        },
        "facts": dataclasses.asdict(found.facts),
        "own_arrangement": found.own,
        "batch_fault": found.batch_fault,
        "end_of_text": dataclasses.asdict(found.end_of_text),
        "majority": found.majority,
        "answers": [
            {
                **{
                    key: value
                    for key, value in dataclasses.asdict(answers).items()
                    if key not in ("losses", "score")
                },
                "score": None if answers.score is None else dataclasses.asdict(answers.score),
            }
            for answers in found.answers.values()
        ],
        **dataclasses.asdict(model.diagnosis),
        "is_sound": model.diagnosis.is_sound,
    }
