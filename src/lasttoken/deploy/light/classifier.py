"""An exported classifier reads texts: tokens, logits, probabilities, decisions. No torch.

    input_ids (B, L), attention_mask (B, L) -> model.onnx -> logits (B, C)

Rows are padded on the right to a multiple of 4 tokens, and only rows of one length ride together.
So a text is computed alike whatever stands beside it.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.deploy.light.activation import decide, probs_of
from lasttoken.deploy.light.graph_file import refuse_external_data
from lasttoken.deploy.light.record import GRAPH_NAME, TOKENIZER_NAME, ExportRecord, read_export
from lasttoken.deploy.light.tokenizer import LightTokenizer
from lasttoken.errors import BackboneError, ConfigError
from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.model.tokens import TokenizedTexts, read_texts

# As `inference.prediction`: enough rows to fill the matrix kernels, few enough to stay in memory.
MAX_TOKENS_PER_BATCH = 4_096
_MOST_SQUARES = 2**21  # tokens x tokens of a batch's attention: of long texts, few at a time

_LENGTH_STEP = 4
_FILLER_TOKEN = 0  # behind a text, read by nobody


class LightClassifier:
    """A classifier of an exported folder; `from_folder` makes one.

    Args:
        session: an `onnxruntime.InferenceSession` of its graph.
        tokenizer: its tokenizer.
        record: what the folder says of itself.
        num_threads: that compute.

    Attributes:
        labels: C label strings in the order of the logits.
        record: what the folder says of itself.
        tokenizer: its tokenizer; not for two threads at a time.
        num_threads: that compute.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - untyped library
        tokenizer: LightTokenizer,
        record: ExportRecord,
        num_threads: int,
    ) -> None:
        self.labels = record.labels
        self.record = record
        self.num_threads = num_threads
        self._session = session
        self.tokenizer = tokenizer
        self._tokenizing = threading.Lock()  # cutting is a setting of the tokenizer

    @classmethod
    def from_folder(cls, folder: str | Path, *, num_threads: int | None = None) -> LightClassifier:
        """Load an exported folder.

        Args:
            folder: as `lasttoken export` wrote it.
            num_threads: that compute; None: `OMP_NUM_THREADS`, else the processors of this process.

        Raises:
            BackboneError: a file is missing, damaged or another than the record names, or the
                graph has weights in other files or cannot be run.
            ConfigError: onnxruntime is not installed, or ftfy, where texts are repaired.
        """
        path = Path(folder).expanduser()
        record = read_export(path)
        if record.fix_text and importlib.util.find_spec("ftfy") is None:
            raise ConfigError(
                f"{path}: was trained on texts that ftfy repaired, which is not installed",
                expected="what repairs texts at prediction as in training",
                remedy="pip install ftfy",
            )
        refuse_external_data(path / GRAPH_NAME)
        tokenizer = LightTokenizer.from_file(
            path / TOKENIZER_NAME, record.reading, record.end_of_text_id
        )
        num_threads = num_threads or _num_processors()
        session = _open_session(path / GRAPH_NAME, num_threads)
        classifier = cls(session, tokenizer, record, num_threads)
        classifier._check_graph(path)
        return classifier

    def tokenize(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        on_event: EventCallback = ignore,
    ) -> TokenizedTexts:
        """Return texts as the classifier reads them: repaired if it was trained so, and cut.

        Args:
            texts: N strings.
            pairs: N second ones, if it was trained on pairs.
            on_event: hears `Progress("tokenize", ...)`.

        Raises:
            DatasetError: it was trained on pairs, and there are none; or the other way round.
        """
        tokenizer: Any = self.tokenizer
        with self._tokenizing:
            return read_texts(tokenizer, self.record, texts, pairs, on_event=on_event)

    def predict_logits(
        self, texts: TokenizedTexts, *, on_event: EventCallback = ignore
    ) -> NDArray[np.float32]:
        """Return logits (N, C) of tokenized texts; of a text in windows the mean of theirs.

        The head is linear, so that is what the mean of the windows' states gives.
        """
        windows = texts.windows()
        logits = np.zeros((len(windows), len(self.labels)), dtype=np.float32)
        padded = self._padded_lengths(windows.lengths)
        done = 0
        for places in _batches(padded):
            rows = [windows[place].astype(np.int64) for place in places.tolist()]
            logits[places] = self._run(rows, int(padded[places[0]]))
            done += len(places)
            on_event(Progress("predict", done, len(windows), "texts"))
        num_windows = texts.num_windows
        if not len(texts) or num_windows.max() == 1:
            return logits
        sums = np.add.reduceat(logits, np.cumsum(num_windows) - num_windows, axis=0)
        return np.asarray((sums / num_windows[:, None]).astype(np.float32))

    def probs(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return probabilities (N, C) float64 of logits (N, C); of a regression the numbers."""
        return probs_of(self.record.kind, logits)

    def predict_probs(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> NDArray[np.float64]:
        """Return probabilities (N, C) float64 of texts; of a regression the numbers.

        Rows sum to 1 but for multi-label, where each label stands alone.

        Args:
            texts: N strings.
            pairs: N second ones, if it was trained on pairs.

        Raises:
            DatasetError: it was trained on pairs, and there are none; or the other way round.
        """
        return self.probs(self.predict_logits(self.tokenize(texts, pairs)))

    def decide(self, probs: NDArray[np.float64]) -> NDArray[Any]:
        """Return decisions about probabilities (N, C).

        Returns:
            (N,) int64 label ids; multi-label (N, C) bool, each label given from its threshold on;
            regression (N,) float64.
        """
        thresholds = self.record.thresholds
        return decide(self.record.kind, probs, [thresholds.get(label) for label in self.labels])

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Any]:
        """Return the label of each text; multi-label: a tuple of labels; regression: a number."""
        decisions = self.decide(self.predict_probs(texts, pairs))
        if self.record.kind == "regression":
            return [float(number) for number in decisions]
        if self.record.kind == "multi_label":
            return [
                tuple(name for name, is_given in zip(self.labels, row, strict=True) if is_given)
                for row in decisions
            ]
        return [self.labels[label_id] for label_id in decisions]

    def num_tokens(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> NDArray[np.int64]:
        """Return the tokens of each text before cutting, (N,) int64."""
        return self.tokenize(texts, pairs).num_tokens

    def _check_graph(self, path: Path) -> None:
        """Let the graph answer one token.

        Raises:
            BackboneError: it cannot, or gives other logits than the record has labels.
        """
        try:
            logits = self._run([np.zeros(1, dtype=np.int64)], 1)
            found = f"a graph of {logits.size} logits and a record of {len(self.labels)} labels"
            if logits.shape == (1, len(self.labels)):
                return
        except Exception as error:  # the runtime's own, and many of them
            found = f"a graph that cannot answer: {str(error).splitlines()[0]}"
        raise BackboneError(
            f"{path}: {found}",
            expected="the files of one export",
            remedy="copy the whole folder again, or export the run again",
        )

    def _padded_lengths(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        stepped = -(-lengths // _LENGTH_STEP) * _LENGTH_STEP
        return np.asarray(np.minimum(stepped, np.maximum(lengths, self.record.reading.max_length)))

    def _run(self, rows: list[NDArray[np.int64]], length: int) -> NDArray[np.float32]:
        """Return logits (B, C) of rows of token ids, padded to a length."""
        input_ids = np.full((len(rows), length), _FILLER_TOKEN, dtype=np.int64)
        attention_mask = np.zeros((len(rows), length), dtype=np.int64)
        for place, ids in enumerate(rows):
            input_ids[place, : len(ids)] = ids
            attention_mask[place, : len(ids)] = 1
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return np.asarray(self._session.run(["logits"], inputs)[0], dtype=np.float32)


def _batches(padded: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Share out rows into batches of one padded length, the longest first."""
    for length in np.unique(padded)[::-1].tolist():
        size = max(1, min(MAX_TOKENS_PER_BATCH // length, _MOST_SQUARES // length**2))
        places = np.flatnonzero(padded == length)
        yield from np.split(places, range(size, len(places), size))


def _num_processors() -> int:
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open_session(path: Path, num_threads: int) -> Any:  # noqa: ANN401 - untyped library
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "onnxruntime is not installed",
            expected="what runs exported models",
            remedy="pip install onnxruntime",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3  # errors alone
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime's own, and many of them
        raise BackboneError(
            f"{path}: onnxruntime cannot run it: {str(error).splitlines()[0]}",
            expected="a graph that this version of onnxruntime knows",
            remedy="pip install --upgrade onnxruntime, or export the run again",
        ) from error
