"""What requests and responses look like: one table over the kinds of task, and the OpenAPI of it.

    kind                    a prediction                on request
    single_label, ordinal   label, score, truncated     probabilities, words
    multi_label             labels, scores, truncated   probabilities, explained, words
    regression              value, truncated            words

Scores and probabilities are those that `lasttoken predict` writes; words are those of the most
probable label, which `explained` names where several labels may be given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, create_model

from lasttoken.data.written import LabelKind
from lasttoken.deploy.serving.limits import Limits
from lasttoken.deploy.serving.model import Members
from lasttoken.deploy.serving.service import Answers

# Without `FailFast` every wrong member of a list is noted: of a body of 2 MB nearly a gigabyte.
_Texts = Annotated[list[str], FailFast()]


class ClassifyRequest(BaseModel):
    """Texts to classify."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: _Texts = Field(description="texts, answered in this order")
    probabilities: bool = Field(False, description="tell the probability of every label")
    explain: bool = Field(False, description="weigh the words of each text")

    def members(self) -> list[Members]:
        """Return each text, or each text and its pair."""
        return [(text,) for text in self.texts]


class ClassifyPairsRequest(ClassifyRequest):
    """Pairs of texts to classify."""

    text_pairs: _Texts = Field(description="a second text for each of the texts")

    def members(self) -> list[Members]:
        """Return each text and its pair."""
        return list(zip(self.texts, self.text_pairs, strict=True))


def request_model(num_members: int) -> type[ClassifyRequest]:
    """Return the model of a request, for texts that come alone or in pairs."""
    return ClassifyPairsRequest if num_members == 2 else ClassifyRequest


def request_schema(num_members: int, limits: Limits) -> dict[str, Any]:
    """Return what OpenAPI tells of a request, the limits included."""
    schema = request_model(num_members).model_json_schema()
    for name in ("texts", "text_pairs"):
        if name in schema["properties"]:
            schema["properties"][name]["maxItems"] = limits.max_texts
            schema["properties"][name]["items"]["maxLength"] = limits.max_characters
    explains = {"properties": {"explain": {"const": True}}, "required": ["explain"]}
    few = {"properties": {"texts": {"maxItems": limits.max_explained}}}
    return {**schema, "if": explains, "then": few}


class Word(BaseModel):
    """A stretch of a text; all of them, joined, are the text."""

    text: str
    weight: float = Field(
        description="by how much it raises the label's probability (the value of a regression)"
    )


class Fault(BaseModel):
    """Why there is no answer."""

    code: str
    found: str
    expected: str
    remedy: str
    id: str = Field(description="of the request, as in the header X-Request-Id and the log")


class FaultResponse(BaseModel):
    """The body of every response that is no answer."""

    error: Fault


_Labels = tuple[str, ...]
_Probs = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """How the predictions of one kind of task look.

    Attributes:
        fields: name to type and description of what a prediction always holds.
        values: of labels, a row of probabilities (C,) and a decision.
        has_probs: whether probabilities can be asked for.
        names_explained: whether it has to be said which label the words are about.
    """

    fields: dict[str, tuple[Any, str]]
    values: Callable[[_Labels, _Probs, Any], dict[str, Any]]
    has_probs: bool = True
    names_explained: bool = False


def _one_label(labels: _Labels, probs: _Probs, decision: Any) -> dict[str, Any]:  # noqa: ANN401 - by kind
    return {"label": labels[decision], "score": float(probs[decision])}


def _set(labels: _Labels, probs: _Probs, decision: Any) -> dict[str, Any]:  # noqa: ANN401 - by kind
    given = np.flatnonzero(decision).tolist()
    return {
        "labels": [labels[place] for place in given],
        "scores": [float(probs[place]) for place in given],
    }


def _number(labels: _Labels, probs: _Probs, decision: Any) -> dict[str, Any]:  # noqa: ANN401 - by kind
    del labels, probs
    return {"value": float(decision)}


_ONE_LABEL = Shape(
    {"label": (str, "the most probable label"), "score": (float, "its probability")}, _one_label
)
SHAPES: dict[LabelKind, Shape] = {
    "single_label": _ONE_LABEL,
    "ordinal": _ONE_LABEL,
    "multi_label": Shape(
        {
            "labels": (list[str], "every label from its threshold on"),
            "scores": (list[float], "their probabilities"),
        },
        _set,
        names_explained=True,
    ),
    "regression": Shape({"value": (float, "the number")}, _number, has_probs=False),
}


def predictions(
    kind: LabelKind, labels: tuple[str, ...], answers: Answers, *, probabilities: bool
) -> list[dict[str, Any]]:
    """Return the predictions of a response.

    Args:
        kind: of the model's task.
        labels: of the model.
        answers: to N texts.
        probabilities: whether they were asked for; a regression has none.
    """
    shape = SHAPES[kind]
    found = []
    for place, (row, decision) in enumerate(zip(answers.probs, answers.decisions, strict=True)):
        one = shape.values(labels, row, decision)
        one["truncated"] = bool(answers.truncated[place])
        if probabilities and shape.has_probs:
            one["probabilities"] = dict(zip(labels, row.tolist(), strict=True))
        if answers.words is not None:
            if shape.names_explained:
                one["explained"] = labels[answers.label_ids[place]]
            one["words"] = [
                {"text": text, "weight": weight} for text, weight in answers.words[place]
            ]
        found.append(one)
    return found


def response_model(kind: LabelKind) -> type[BaseModel]:
    """Return the model of a response, for OpenAPI."""
    shape = SHAPES[kind]
    fields: dict[str, Any] = {
        name: (of_type, Field(description=text)) for name, (of_type, text) in shape.fields.items()
    }
    fields["truncated"] = (bool, Field(description="the text was longer than the model reads"))
    if shape.has_probs:
        fields["probabilities"] = (
            dict[str, float] | None,
            Field(None, description="label to probability; on request"),
        )
    if shape.names_explained:
        fields["explained"] = (
            str | None,
            Field(None, description="the label that the words are about; on request"),
        )
    fields["words"] = (list[Word] | None, Field(None, description="on request"))
    prediction = create_model("Prediction", __doc__="What the model says of one text.", **fields)
    return create_model(
        "ClassifyResponse",
        __doc__="Predictions in the order of the texts.",
        predictions=(list[prediction], ...),  # type: ignore[valid-type]
    )
