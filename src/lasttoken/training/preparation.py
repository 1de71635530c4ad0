"""Make training ready: model loaded, texts tokenized, settings resolved; nothing changed yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.examples import Example, second_texts
from lasttoken.data.labels import LabelSpec
from lasttoken.data.splits import fingerprint
from lasttoken.data.tasks import Task, name_of
from lasttoken.data.written import LabelKind
from lasttoken.errors import ConfigError
from lasttoken.events import EventCallback, Note, ignore
from lasttoken.model.folder import LoadedModel, load_for_training
from lasttoken.model.frame import num_read_otherwise
from lasttoken.model.label_words import words_for_labels
from lasttoken.model.objective import Objective
from lasttoken.model.reading import Reading, check_pairs_fit
from lasttoken.model.settling import check_pairs, settle_reading
from lasttoken.model.sources import fetch_model, locate_model
from lasttoken.model.tokens import TokenizedTexts, tokenize
from lasttoken.template import LongTexts
from lasttoken.training.defaults import default_learning_rate
from lasttoken.training.depth import cut_as_asked
from lasttoken.training.features import features_shape
from lasttoken.training.imbalance import check_weighable, make_groups, make_objective
from lasttoken.training.sampler import TokenizedExamples
from lasttoken.training.scratch import check_room
from lasttoken.training.state import FitSettings

_SINGLE_LABEL = Task()

# Kinds of tasks whose heads can be fitted as logistic regressions on label ids.
FITTED_KINDS: tuple[LabelKind, ...] = ("single_label", "ordinal")
# Below it adapters hardly learn. They want about ten times the rate of full training: Schulman et
# al., "LoRA Without Regret" (Thinking Machines, 2025).
LOWEST_LORA_RATE = 1e-4
_COMPARED = 200  # texts that are read twice, to tell what a template changes


@dataclass(frozen=True)
class PreparedTraining:
    """Everything that training needs.

    Attributes:
        loaded: the model with its head for these labels.
        training: tokenized examples to learn from.
        validating: tokenized examples that choose the epoch to keep.
        settings: of the loop.
        reading: how texts become tokens.
        data_fingerprint: SHA-256 over the training examples.
        num_blocks: of the model before `settings.depth` cut it.
        objective: what training lowers.
        groups: (N,) of the training examples, of which each epoch draws equally many; None draws
            each example once.
    """

    loaded: LoadedModel
    training: TokenizedExamples
    validating: TokenizedExamples
    settings: FitSettings
    reading: Reading
    data_fingerprint: str
    num_blocks: int
    objective: Objective
    groups: NDArray[np.int64] | None
    label_words: NDArray[np.float32] | None

    def tokenize(
        self, examples: Sequence[Example], *, on_event: EventCallback = ignore
    ) -> TokenizedTexts:
        """Return the texts of further examples as the model will read them."""
        return _tokenize(self.loaded, self.reading, examples, on_event)


def prepare_training(
    model: str,
    train: Sequence[Example],
    validating: Sequence[Example],
    settings: FitSettings,
    *,
    max_length: int | None = None,
    template: str | None = None,
    long: LongTexts = "cut-end",
    window_overlap: int | None = None,
    task: Task = _SINGLE_LABEL,
    on_event: EventCallback = ignore,
) -> PreparedTraining:
    """Load a model with a head for the examples' labels, and tokenize them.

    Args:
        model: Hub id, local folder, .gguf file or sample name.
        train: labeled examples to learn from.
        validating: labeled examples that choose the epoch to keep.
        settings: of the loop.
        max_length: tokens that are read at once; None is the model's limit.
        template: the words around every text; see `template.parse_template`.
        long: what is done with texts of more tokens.
        window_overlap: tokens that two windows share, at least; None is a quarter.
        task: what the labels mean.
        on_event: hears progress and what was decided.

    Raises:
        BackboneError: the model cannot be had or used.
        ConfigError: weights of labels do not fit the task or its labels; texts cannot be read as
            asked for (see `settling.settle_reading`), `max_length` is more than the model can read,
            `depth` or `trainable` are more than the model has blocks, or there is too little room
            for what frozen blocks give.
        DatasetError: the labels do not fit the task (see `LabelSpec.from_labels`), or validation
            has one that training has not.
    """
    has_pairs = second_texts(train) is not None
    check_pairs(template, has_pairs=has_pairs)
    labels = task.spec(str(example.label) for example in train)
    labels.encode(str(example.label) for example in validating)
    _check_fittable(labels, settings)
    check_weighable(labels, settings)
    folder = fetch_model(locate_model(model), on_event)
    loaded = load_for_training(folder, labels, seed=settings.seed)
    tell_reading_path(loaded, on_event)
    if settings.learning_rate is None:
        width = int(loaded.classifier.hf_model.config.get_text_config().hidden_size)
        settings = replace(settings, learning_rate=default_learning_rate(width, settings.learns))
    num_blocks = cut_as_asked(model, loaded.classifier, settings)
    if not loaded.head_is_new and settings.learns.kind != "probe":
        on_event(Note("the model's own head is kept: its labels are the same"))
    if settings.learns.kind == "lora" and settings.peak_rate < LOWEST_LORA_RATE:
        on_event(
            Note(
                f"learning rate {settings.peak_rate:g}: adapters usually want ten times the "
                "rate of full training; try --learning-rate 5e-4"
            )
        )
    limit = loaded.token_limit
    if max_length is not None and max_length > limit:
        raise ConfigError(
            f"--max-length {max_length}: more than model {model!r} can read",
            expected=f"at most {limit} tokens",
            remedy=f"--max-length {limit}, or leave it out",
        )
    tokenizer, reading = settle_reading(
        loaded.tokenizer,
        loaded.classifier.hf_model.config,
        limit,
        max_length=max_length,
        template=template,
        has_pairs=has_pairs,
        long=long,
        window_overlap=window_overlap,
    )
    framed = replace(loaded, tokenizer=tokenizer)
    _tell_frame(loaded, framed, reading, train, on_event)
    training, validation = (
        TokenizedExamples(
            _tokenize(framed, reading, examples, on_event),
            [str(example.label) for example in examples],
        )
        for examples in (train, validating)
    )
    # A model that is cut has no language-model head behind its last block; a probe has its fit.
    is_whole = settings.keeps in (None, num_blocks) and settings.learns.kind != "probe"
    words = words_for_labels(loaded, folder, reading, on_event) if is_whole else None
    settings = replace(settings, depth=settings.keeps or num_blocks)
    prepared = PreparedTraining(
        loaded=framed,
        training=training,
        validating=validation,
        settings=settings,
        reading=reading,
        data_fingerprint=fingerprint(train),
        num_blocks=num_blocks,
        objective=make_objective(loaded.classifier.labels, training.labels, settings, on_event),
        groups=make_groups(task, training.labels, settings, on_event),
        label_words=words,
    )
    _check_room(prepared)
    return prepared


def tell_reading_path(loaded: LoadedModel, on_event: EventCallback) -> None:
    """Tell if a model is read padded or blocks are computed the long way, and why."""
    proof = loaded.classifier.proof
    if proof.path != "packed":
        text = f"this model is read {proof.path}, not packed: {proof.reason}"
        on_event(Note(text, is_warning=True))
    if proof.whole_block_reason:
        reason = proof.whole_block_reason
        on_event(Note(f"the last block is computed for every token: {reason}"))
    if proof.long_blocks_reason:
        on_event(Note(f"blocks are not computed in fewer calls: {proof.long_blocks_reason}"))


def _tell_frame(
    before: LoadedModel,
    after: LoadedModel,
    reading: Reading,
    train: Sequence[Example],
    on_event: EventCallback,
) -> None:
    """Tell what stands around texts, and how many of them it changes where they meet it."""
    if not reading.replaced:
        return
    few = train[:_COMPARED]
    texts, pairs = [example.text for example in few], second_texts(few)
    others = num_read_otherwise(before.tokenizer, after.tokenizer, reading, texts, pairs)
    what = "template" if reading.template else "pairs: a line break stands between the two"
    text = f"{what}: {reading.max_length - reading.room} tokens beside those of a text"
    if others:
        text += (
            f"; of {len(few):,} texts, {others:,} have other tokens than in one string with it, "
            "because their ends meet its words (or a text is empty)"
        )
    on_event(Note(text))


def _check_fittable(labels: LabelSpec, settings: FitSettings) -> None:
    """Refuse settings that fit a head where that is not known for the task.

    Raises:
        ConfigError: a head would have to be fitted on sets or numbers.
    """
    if labels.kind in FITTED_KINDS:
        return
    task = name_of(labels.kind)
    for flag, asks in (
        ("--trainable probe", settings.learns.kind == "probe"),
        ("--depth auto", settings.keeps == "auto"),
    ):
        if asks:
            raise ConfigError(
                f"{flag} with --task {task}",
                expected=f"settings that train the head of a {task} task in epochs",
                remedy="--trainable full or last-3, and --depth N",
            )


def _check_room(prepared: PreparedTraining) -> None:
    """Check that what frozen blocks give will fit on the disk, before the work begins."""
    settings, classifier = prepared.settings, prepared.loaded.classifier
    splits = (prepared.training.texts, prepared.validating.texts)
    if settings.learns.kind == "last":
        width = int(classifier.hf_model.config.get_text_config().hidden_size)
        check_room(sum(int(texts.offsets[-1]) for texts in splits) * width * 4)
    if settings.learns.kind == "probe":
        check_room(sum(math.prod(features_shape(classifier, len(texts))) for texts in splits) * 4)


def _tokenize(
    loaded: LoadedModel,
    reading: Reading,
    examples: Sequence[Example],
    on_event: EventCallback,
) -> TokenizedTexts:
    texts, pairs = [example.text for example in examples], second_texts(examples)
    check_pairs_fit(reading, has_pairs=pairs is not None)
    return tokenize(loaded.tokenizer, texts, reading, pairs=pairs, on_event=on_event)
