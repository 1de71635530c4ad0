"""Make training ready: model loaded, texts tokenized, settings resolved; nothing changed yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lasttoken.data.examples import Example
from lasttoken.data.labels import LabelSpec
from lasttoken.data.splits import fingerprint
from lasttoken.errors import ConfigError
from lasttoken.events import EventCallback, Note, ignore
from lasttoken.model.folder import LoadedModel, load_for_training
from lasttoken.model.sources import fetch_model, locate_model
from lasttoken.model.tokens import TokenizedTexts, prompt_tokens, tokenize
from lasttoken.training.sampler import TokenizedExamples
from lasttoken.training.state import FitSettings


@dataclass(frozen=True)
class PreparedTraining:
    """Everything that training needs.

    Attributes:
        loaded: the model with its head for these labels.
        training: tokenized examples to learn from.
        validating: tokenized examples that choose the epoch to keep.
        settings: of the loop.
        max_length: tokens at which texts are cut.
        prompt: put in front of every text.
        data_fingerprint: SHA-256 over the training examples.
    """

    loaded: LoadedModel
    training: TokenizedExamples
    validating: TokenizedExamples
    settings: FitSettings
    max_length: int
    prompt: str
    data_fingerprint: str

    def tokenize(
        self, examples: Sequence[Example], *, on_event: EventCallback = ignore
    ) -> TokenizedTexts:
        """Return the texts of further examples as the model will read them."""
        return _tokenize(self.loaded, examples, self.max_length, self.prompt, on_event)


def prepare_training(
    model: str,
    train: Sequence[Example],
    validating: Sequence[Example],
    settings: FitSettings,
    *,
    max_length: int | None,
    prompt: str = "",
    on_event: EventCallback = ignore,
) -> PreparedTraining:
    """Load a model with a head for the examples' labels, and tokenize them.

    Args:
        model: Hub id, local folder, .gguf file or sample name.
        train: labeled examples to learn from.
        validating: labeled examples that choose the epoch to keep.
        settings: of the loop.
        max_length: tokens at which texts are cut; None is the model's limit.
        prompt: put in front of every text.
        on_event: hears progress and what was decided.

    Raises:
        BackboneError: the model cannot be had or used.
        ConfigError: `max_length` is more than the model can read, or the prompt leaves no room in
            it for a text.
        DatasetError: there are fewer than two labels, or validation has one that training has not.
    """
    labels = LabelSpec.from_labels(str(example.label) for example in train)
    labels.encode(str(example.label) for example in validating)
    folder = fetch_model(locate_model(model), on_event)
    loaded = load_for_training(folder, labels, seed=settings.seed)
    tell_reading_path(loaded, on_event)
    if not loaded.head_is_new:
        on_event(Note("the model's own head is kept: its labels are the same"))
    limit = loaded.token_limit
    if max_length is not None and max_length > limit:
        raise ConfigError(
            f"--max-length {max_length}: more than model {model!r} can read",
            expected=f"at most {limit} tokens",
            remedy=f"--max-length {limit}, or leave it out",
        )
    cut_at = limit if max_length is None else max_length
    prompt_length = len(prompt_tokens(loaded.tokenizer, prompt))
    if prompt_length >= cut_at:
        raise ConfigError(
            f"--prompt: {prompt_length} tokens, which leaves no room for a text",
            expected=f"fewer than the {cut_at} tokens at which texts are cut",
            remedy="a shorter --prompt, or a larger --max-length",
        )
    training, validation = (
        TokenizedExamples(
            _tokenize(loaded, examples, cut_at, prompt, on_event),
            [str(example.label) for example in examples],
        )
        for examples in (train, validating)
    )
    return PreparedTraining(
        loaded, training, validation, settings, cut_at, prompt, fingerprint(train)
    )


def tell_reading_path(loaded: LoadedModel, on_event: EventCallback) -> None:
    """Tell if a model is read padded, and why."""
    proof = loaded.classifier.proof
    if proof.path != "packed":
        text = f"this model is read {proof.path}, not packed: {proof.reason}"
        on_event(Note(text, is_warning=True))


def _tokenize(
    loaded: LoadedModel,
    examples: Sequence[Example],
    max_length: int,
    prompt: str,
    on_event: EventCallback,
) -> TokenizedTexts:
    texts = [example.text for example in examples]
    return tokenize(
        loaded.tokenizer, texts, max_length=max_length, prompt=prompt, on_event=on_event
    )
