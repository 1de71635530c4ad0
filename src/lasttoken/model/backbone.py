"""Load a decoder and its tokenizer from a local folder, with every family's quirks hidden.

What comes back is a stock `*ForSequenceClassification` of transformers with the right labels,
pad token and head, plus the tokenizer to go with it. No warning, no resize, no network.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lasttoken.data.labels import LabelSpec
from lasttoken.errors import BackboneError
from lasttoken.model.inspection import not_a_decoder, refuse_more_than
from lasttoken.model.quiet import quiet_transformers
from lasttoken.model.record import read_labels

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Weights that checkpoints of language models hold and a classifier has no use for.
_UNUSED_PREFIXES = ("lm_head", "embed_out", "cls", "predictions")
_UNUSED_SUFFIXES = ("attn.bias", "attn.masked_bias", "rotary_emb.inv_freq")

# A tokenizer without a limit of its own says 1e30.
_NO_LIMIT = 1_000_000


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer that pads with end-of-text where it has no pad token of its own.

    It pads on the left, as in the tutorial, and treats special-token names inside a text as text.

    Raises:
        BackboneError: there is no tokenizer that transformers can load without running foreign
            code, or it has no end-of-text token.
    """
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                padding_side="left",
                truncation_side="right",
                split_special_tokens=True,
            )
    except Exception as error:  # a stranger's files make the library raise whatever they like
        raise _no_tokenizer(folder, _first_line(error)) from error
    if not isinstance(tokenizer.model_max_length, int | float):
        raise _no_tokenizer(folder, f"model_max_length is {tokenizer.model_max_length!r}")
    if not tokenizer.vocab_size:  # transformers makes an empty one where the files are missing
        raise _no_tokenizer(folder, "its vocabulary is empty")
    if tokenizer.eos_token_id is None:
        if tokenizer.mask_token is not None or tokenizer.cls_token is not None:
            kind = tokenizer.mask_token or tokenizer.cls_token
            raise not_a_decoder(
                str(folder), f"its tokenizer has {kind} and no end-of-text token, as encoders do"
            )
        raise BackboneError(
            f"{folder}: its tokenizer has no end-of-text token",
            expected="a decoder's tokenizer, with eos_token set",
            remedy="--model smollm2 or gpt2, or set eos_token and save the tokenizer again",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def read_config(folder: Path) -> PreTrainedConfig:
    """Return a folder's configuration; the weights are not looked at.

    Raises:
        BackboneError: transformers does not know it.
    """
    from transformers import AutoConfig

    try:
        with quiet_transformers():
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # a stranger's files make the library raise whatever they like
        raise BackboneError(
            f"{folder}: its config.json cannot be used: {_first_line(error)}",
            expected="the configuration of a causal language model",
            remedy="--model smollm2, or another family",
        ) from error
    return config


def load_hf_model(
    folder: Path, labels: LabelSpec, *, pad_token_id: int, seed: int
) -> tuple[PreTrainedModel, bool]:
    """Load a stock sequence-classification model in fp32, attention set to "eager".

    Args:
        folder: inspected by `inspection.inspect_folder`.
        labels: C labels; the folder's head is kept if its labels are these, in this order.
        pad_token_id: what stock heads compare ids with.
        seed: of a newly made head.

    Returns:
        The model, in evaluation mode on the CPU, and whether its head was newly made.

    Raises:
        BackboneError: transformers has no classifier for this family, the family is no decoder,
            or weights are missing or of another shape.

    Source:
        A new head is drawn by the family's own initialization in transformers, a normal
        distribution with the configuration's `initializer_range` (0.02 for most).
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    known = read_labels(folder)
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            config.num_labels = labels.num_logits
            config.id2label = labels.id2label
            config.label2id = labels.label2id
            config.problem_type = labels.problem_type
            config.pad_token_id = pad_token_id
            with torch.device("meta"):  # takes no memory, however large
                described = AutoModelForSequenceClassification.from_config(
                    config, attn_implementation="eager", trust_remote_code=False
                )
            num_weights = sum(weight.numel() for weight in described.parameters())
            refuse_more_than(num_weights - _head_weights(described), folder)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except BackboneError:
        raise
    except Exception as error:  # a stranger's files make the library raise whatever they like
        raise BackboneError(
            f"{folder}: transformers cannot load it as a classifier: {_first_line(error)}",
            expected="a causal language model of a family with a sequence-classification class",
            remedy="--model smollm2, or another family",
        ) from error
    if not isinstance(getattr(model, "score", None), nn.Linear):
        raise not_a_decoder(str(folder), f"{type(model).__name__} has no last-token head")
    missing = set(info["missing_keys"])
    mismatched = {str(key[0]) if isinstance(key, tuple) else str(key)
                  for key in info["mismatched_keys"]}  # fmt: skip
    _refuse_wrong_weights(folder, missing, mismatched, info["unexpected_keys"])
    head_is_new = bool((missing | mismatched) & {"score.weight"})
    if not head_is_new and known is not None and _mean_other_things(known, labels):
        # Same shape, other meaning: rows of the old head would stand for the wrong labels.
        _renew_head(model, seed)
        head_is_new = True
    _fuse_gelu(model)
    return model.eval(), head_is_new


def positions_of(config: PreTrainedConfig) -> int | None:
    """Return how many positions a model has; None where nothing says. MPT has its own name."""
    named = (getattr(config, key, None) for key in ("max_position_embeddings", "max_seq_len"))
    return next((int(number) for number in named if number is not None), None)


def token_limit(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, *, is_ours: bool = False
) -> int:
    """Return the longest text in tokens that model and tokenizer were made for.

    Args:
        config: of the model; says how many positions it has.
        tokenizer: may have a limit of its own.
        is_ours: the tokenizer was saved by a run of lasttoken.

    Source:
        `positions_of` (called `n_positions` in GPT-2) and `model_max_length`; the
        smaller of the two, and 1,000,000 where neither says.
    """
    config = config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    limits = [positions_of(config), _NO_LIMIT]
    if rope.get("rope_type") in ("dynamic", "longrope"):
        # Beyond this length they scale positions by the longest text of a batch: company matters.
        limits.append(rope.get("original_max_position_embeddings"))
    if not is_ours:  # ours is the limit of an earlier run, not of the model
        limits.append(tokenizer.model_max_length)
    return int(min(limit for limit in limits if limit is not None and limit > 0))


def refuse_foreign_tokenizer(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a tokenizer whose ids the model has no embedding for.

    Raises:
        BackboneError: it was made for another model.
    """
    config: Any = model.config
    rows = int(config.get_text_config().vocab_size)
    # Added tokens may lie beyond: in texts they are split, so only end-of-text is ever read.
    largest = max(tokenizer.vocab_size - 1, int(tokenizer.eos_token_id or 0))
    if largest >= rows:
        raise BackboneError(
            f"{folder}: its tokenizer makes ids up to {largest:,}, the model knows {rows:,} tokens",
            expected="the tokenizer that the model was trained with",
            remedy="fetch or save the tokenizer again",
        )


def _head_weights(model: PreTrainedModel) -> int:
    head = getattr(model, "score", None)
    return int(head.weight.numel()) if isinstance(head, nn.Linear) else 0


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _no_tokenizer(folder: Path, reason: str) -> BackboneError:
    return BackboneError(
        f"{folder}: its tokenizer cannot be loaded: {reason}",
        expected="tokenizer.json beside config.json",
        remedy="save the tokenizer into the folder with save_pretrained()",
    )


def _refuse_wrong_weights(
    folder: Path, missing: set[str], mismatched: set[str], unexpected: Iterable[str]
) -> None:
    left_over = sorted(
        name
        for name in unexpected
        if not name.startswith(_UNUSED_PREFIXES) and not name.endswith(_UNUSED_SUFFIXES)
    )
    if left_over:
        raise BackboneError(
            f"{folder}: {len(left_over)} weights have no place in the model that config.json "
            f"describes, first {left_over[0]!r}",
            expected="a config.json that describes the weights beside it",
            remedy="fetch or save the model again",
        )
    faulty = sorted((missing | mismatched) - {"score.weight"})
    if faulty:
        raise BackboneError(
            f"{folder}: {len(faulty)} weights are missing or of another shape than config.json "
            f"says, first {faulty[0]!r}",
            expected="every weight of the decoder in *.safetensors",
            remedy="fetch or save the model again",
        )


def _mean_other_things(known: LabelSpec, labels: LabelSpec) -> bool:
    return (known.labels, known.problem_type) != (labels.labels, labels.problem_type)


def _renew_head(model: PreTrainedModel, seed: int) -> None:
    head: Any = model.score
    config: Any = model.config
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        head.weight.normal_(mean=0.0, std=getattr(config, "initializer_range", 0.02))


def _fuse_gelu(model: nn.Module) -> None:
    """Replace the Python form of tanh GELU by the equal fused one; config.json keeps its name.

    Source:
        Hendrycks and Gimpel (arXiv 1606.08415); both compute
        0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    """
    from transformers.activations import NewGELUActivation

    for module in model.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
