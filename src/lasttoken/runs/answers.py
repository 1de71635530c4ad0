"""Answers that were given already: chunks of a prediction that was interrupted.

    labels.csv                         the output; there when all of it is done
    .labels.csv.lasttoken-answers/     a file a chunk, until then

A chunk is known by what decides its answers (weights, token ids, precision, device, threads), so
whatever changes between two attempts, an answer is never taken for another text's.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lasttoken.durable import replace_file, telling
from lasttoken.model.tokens import TokenizedTexts


@dataclass(frozen=True)
class Answers:
    """What a chunk of N texts got.

    Attributes:
        probs: (N, C) float64.
        num_tokens: (N,) int64, before cutting.
        truncated: (N,) bool.
    """

    probs: NDArray[np.float64]
    num_tokens: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class AnswerStore:
    """The answers given so far for one output file.

    Args:
        output: the file that is to be written; None keeps nothing.
        context: what decides answers beside the texts: weights, precision, device,
            threads.
    """

    def __init__(self, output: str | None, context: dict[str, str]) -> None:
        self._folder = None
        if output is not None:
            path = Path(output).expanduser()
            self._folder = path.with_name(f".{path.name}.lasttoken-answers")
        self._context = json.dumps(context, sort_keys=True).encode()

    def find(self, texts: TokenizedTexts) -> Answers | None:
        """Return the answers of a chunk, if they were given and kept whole."""
        path = self._path(texts)
        if path is None or not path.is_file():
            return None
        try:
            with np.load(path) as arrays:
                answers = Answers(arrays["probs"], arrays["num_tokens"], arrays["truncated"])
        except Exception:  # damaged, which the reader tells in many ways: given again
            return None
        return answers if len(answers.probs) == len(texts) else None

    def keep(self, texts: TokenizedTexts, answers: Answers) -> None:
        """Keep the answers of a chunk until all is done.

        Raises:
            RunError: they cannot be written.
        """
        path = self._path(texts)
        if path is None:
            return
        content = io.BytesIO()
        np.savez(
            content,
            probs=answers.probs,
            num_tokens=answers.num_tokens,
            truncated=answers.truncated,
        )
        with telling(path.parent):
            path.parent.mkdir(exist_ok=True)
        replace_file(path, content.getvalue())

    def clear(self) -> None:
        """Forget all answers: the output holds them."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, texts: TokenizedTexts) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256(self._context)
        for part in (texts.token_ids, texts.offsets, texts.num_tokens, texts.truncated):
            digest.update(np.ascontiguousarray(part).data)
        digest.update(repr(texts.reading).encode())
        return self._folder / f"{digest.hexdigest()}.npz"
