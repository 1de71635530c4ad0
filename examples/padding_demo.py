"""What padding and the end-of-text marker do to a stock GPT-2 classifier, and to lasttoken's.

    python examples/padding_demo.py                    a GPT-2 of true size, random weights
    python examples/padding_demo.py --model gpt2       any GPT-2: Hub id or folder

Both read the same weights in fp32. Without --model they are random but seeded, and a text is one
token per byte; the head is random in either case, so probabilities tell how far an answer moves,
not what a film is like.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2Model,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from lasttoken import Gpt2ClassificationCollator, load_model
from lasttoken.model.batch import pack_examples

TEXT = "A warm, funny and surprisingly sad film."
MARKER = "<|endoftext|>"
WIDTHS = (0, 1, 8, 64)  # padding tokens in front of the text

Table = dict[str, list[float]]


def save_random_gpt2(folder: Path, **sizes: int) -> Path:
    """Save a GPT-2 with seeded random weights: 12 blocks of width 768 unless `sizes` differ."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: token for token, letter in enumerate([*letters, MARKER])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=MARKER).save_pretrained(folder)
    torch.manual_seed(0)
    end = vocabulary[MARKER]
    GPT2Model(GPT2Config(bos_token_id=end, eos_token_id=end, **sizes)).save_pretrained(folder)
    return folder


@torch.inference_mode()
def measure(name: str) -> tuple[Table, Table]:
    """Return the probability of "pos": by padding in front, and with the marker at the end."""
    ours, our_tokenizer = load_model(name, ["neg", "pos"], device="cpu")
    ours.eval()
    with tempfile.TemporaryDirectory() as folder:  # the same weights, read by transformers alone
        ours.hf_model.save_pretrained(folder)
        stock = GPT2ForSequenceClassification.from_pretrained(folder).eval()
    stock_tokenizer = AutoTokenizer.from_pretrained(
        ours.hf_model.config.name_or_path, padding_side="left", pad_token=MARKER
    )
    left = Gpt2ClassificationCollator(our_tokenizer, {}, layout="left")
    packed = Gpt2ClassificationCollator(our_tokenizer, {}, layout="packed")

    def pos(output) -> float:  # noqa: ANN001 - of the first text in the batch
        return output.logits[0].softmax(-1)[1].item()

    padding: Table = {
        "stock, padded left, no position_ids": [],
        "stock, padded left, our position_ids": [],
        "lasttoken, padded left": [],
        "lasttoken, packed": [],
    }
    tokens = np.array(our_tokenizer(TEXT)["input_ids"])
    for width in WIDTHS:
        neighbor = np.resize(tokens, len(tokens) + width)  # repeated until it is long enough
        batch = [{"input_ids": tokens}, {"input_ids": neighbor}]
        padded, laid_out = left(batch), packed(batch)
        unpositioned = {name: padded[name] for name in ("input_ids", "attention_mask")}
        answers = (stock(**unpositioned), stock(**padded), ours(**padded), ours(**laid_out))
        for row, output in zip(padding.values(), answers, strict=True):
            row.append(pos(output))

    def at_true_end(text: str) -> float:  # by hand: the last hidden state times the head
        states = stock.transformer(**stock_tokenizer(text, return_tensors="pt")).last_hidden_state
        return stock.score(states[0, -1]).softmax(-1)[1].item()

    texts = (TEXT, TEXT + MARKER)
    ids = [np.array(stock_tokenizer(text)["input_ids"]) for text in texts]
    ending: Table = {
        "stock head": [pos(stock(**stock_tokenizer(text, return_tensors="pt"))) for text in texts],
        "lasttoken, the same tokens": [pos(ours(**pack_examples([i]).to_inputs())) for i in ids],
        "by hand, last hidden state": [at_true_end(text) for text in texts],
        "lasttoken, marker read as text": [pos(ours(**packed([{"text": text}]))) for text in texts],
    }
    return padding, ending


def show(title: str, columns: Sequence[object], table: Table) -> None:
    """Print a table."""
    print(f"{title:38}" + "".join(f"{column!s:>14}" for column in columns))
    for name, values in table.items():
        print(f"{name:38}" + "".join(f"{value:14.9f}" for value in values))
    print()


def main(argv: Sequence[str] | None = None) -> tuple[Table, Table]:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a GPT-2: Hub id or folder [random, true size]")
    args = parser.parse_args(argv)
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        padding, ending = measure(args.model or str(save_random_gpt2(Path(folder))))
    show("padding tokens in front of the text", WIDTHS, padding)
    show("end of the text", ("as written", "+ marker"), ending)
    return padding, ending


if __name__ == "__main__":
    main()
