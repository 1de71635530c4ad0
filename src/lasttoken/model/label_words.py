"""Label words: the rows of the language-model head that stand for a word for each label.

    template     Review: {text} The sentiment of this review is
    label words  " negative", " positive"  -> their first tokens -> rows (C, H) of the head

What a language model would write behind the template is then what the classifier starts from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lasttoken.events import EventCallback, Note
from lasttoken.model.folder import LoadedModel
from lasttoken.model.frame import ids_behind
from lasttoken.model.quiet import quiet_transformers
from lasttoken.model.reading import Reading
from lasttoken.template import parse_template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def words_for_labels(
    loaded: LoadedModel, folder: Path, reading: Reading, on_event: EventCallback
) -> NDArray[np.float32] | None:
    """Return the rows for the labels' own names, if the template asks for one.

    Args:
        loaded: with the model's own tokenizer.
        folder: that it was loaded from.
        reading: whose template ends in words, or not.
        on_event: told that there are such rows.

    Returns:
        (C, H), see `label_word_rows`; None without such a template, of a regression, where the head
        is not new, and where all names begin with one token, which tells none of them apart.
    """
    words, labels = parse_template(reading.template), loaded.classifier.labels
    if words is None or not words.after.strip():
        return None
    if labels.kind == "regression" or not loaded.head_is_new:
        return None
    model = loaded.classifier.hf_model
    rows = label_word_rows(folder, model, loaded.tokenizer, labels.labels, behind=words.after)
    if rows is None or (rows == rows[0]).all():
        return None
    on_event(Note("the head may start near what the language model says of the labels' names"))
    return rows


def label_word_rows(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    words: Sequence[str],
    *,
    behind: str,
) -> NDArray[np.float32] | None:
    """Return what the language-model head reads for the first token of each word, (C, H) fp32.

    Args:
        folder: that the model was loaded from.
        model: the classifier's decoder, whose embeddings serve where they are tied to the head.
        tokenizer: the model's own.
        words: C words.
        behind: what stands in front of the word, which decides whether it begins with a space, and
            behind which it is tokenized.

    Returns:
        None where the model has no language-model head: the folder holds a classifier.

    Source:
        Words for labels ("verbalizer"): Schick and Schütze, "Exploiting cloze questions for few
        shot text classification" (arXiv 2001.07676).
    """
    weight = _output_embeddings(folder, model)
    if weight is None:
        return None
    space = "" if not behind or behind[-1].isspace() else " "
    first = [ids_behind(tokenizer, behind, space + word)[0] for word in words]
    return np.asarray(weight[torch.tensor(first)].float().cpu().numpy())


def _output_embeddings(folder: Path, model: PreTrainedModel) -> torch.Tensor | None:
    """Return the language-model head (V, H), or None if the folder has none."""
    config: Any = model.config.get_text_config()
    if getattr(config, "tie_word_embeddings", False):
        embeddings: Any = model.get_input_embeddings()
        tied: torch.Tensor = embeddings.weight.detach()
        return tied
    from transformers import AutoModelForCausalLM

    # Families save their head under names of their own, which only their loading code knows.
    with quiet_transformers():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True
        )
    whole, report = loaded
    head = whole.get_output_embeddings()
    name = next(name for name, module in whole.named_modules() if module is head)
    found: torch.Tensor = head.weight.detach()
    return None if f"{name}.weight" in report["missing_keys"] else found
