"""Batches, buckets and tokens, with every expected number in sight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from families import END_OF_TEXT, byte_tokenizer
from lasttoken import BatchError, DatasetError, Gpt2ClassificationCollator
from lasttoken.inference.prediction import budget_batches
from lasttoken.model.batch import pack_examples, pad_left, unpad
from lasttoken.model.packing import Packing, _ToSlots, _ToTokens
from lasttoken.model.reading import Reading
from lasttoken.model.tokens import tokenize


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def test_a_packed_batch_lies_end_to_end_with_positions_that_restart() -> None:
    batch = pack_examples([ids(*range(10, 23)), ids(30, 31, 32), ids(40)])
    assert batch.input_ids.tolist() == [[*range(10, 23), 30, 31, 32, 40, 0]]
    assert batch.position_ids.tolist() == [[*range(13), 0, 1, 2, 0, 0]]
    assert batch.cu_seqlens.tolist() == [0, 13, 16, 17]
    assert batch.owner is None


def test_a_short_batch_is_filled_up_to_16_tokens() -> None:
    batch = pack_examples([ids(5, 6)])
    assert batch.input_ids.shape == (1, 16)
    assert batch.position_ids.tolist() == [[0, 1, *range(14)]]
    assert batch.cu_seqlens.tolist() == [0, 2]


def test_left_padding_counts_positions_from_the_first_real_token() -> None:
    inputs = pad_left([ids(7, 8, 9), ids(5)], pad_token_id=5)
    assert inputs["input_ids"].tolist() == [[7, 8, 9], [5, 5, 5]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2], [0, 0, 0]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_unpadding_gives_the_packed_batch_back(side: str) -> None:
    sequences = [ids(7, 8, 9), ids(5), ids(1, 2)]
    padded = torch.zeros((3, 4), dtype=torch.int64)
    mask = torch.zeros_like(padded)
    for row, sequence in enumerate(sequences):
        place = slice(4 - len(sequence), 4) if side == "left" else slice(0, len(sequence))
        padded[row, place] = torch.from_numpy(sequence.astype(np.int64))
        mask[row, place] = 1
    expected = pack_examples(sequences)
    found = unpad(padded, mask)
    for tensor, other in zip(
        found, (expected.input_ids, expected.position_ids, expected.cu_seqlens)
    ):
        assert torch.equal(tensor, other)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(BatchError, match="a batch of no sequences"):
        pack_examples([])
    with pytest.raises(BatchError, match="a sequence of no tokens"):
        pack_examples([ids(1), ids()])


def test_the_collator_encodes_labels_and_takes_tokenized_examples_too() -> None:
    collate = Gpt2ClassificationCollator(byte_tokenizer(), {"neg": 0, "pos": 1}, 3)
    inputs = collate([{"text": "hello", "label": "pos"}, {"text": "", "label": "neg"}])
    assert inputs["labels"].tolist() == [1, 0]
    assert inputs["cu_seqlens"].tolist() == [0, 3, 4]
    assert inputs["input_ids"][0, 3] == 256
    again = collate([{"input_ids": ids(1, 2), "label": "pos"}])
    assert again["input_ids"][0, :2].tolist() == [1, 2]


def test_the_collator_in_the_tutorials_layout_pads_left_with_end_of_text() -> None:
    collate = Gpt2ClassificationCollator(byte_tokenizer(), {"neg": 0}, 60, layout="left")
    inputs = collate([{"text": "abc", "label": "neg"}, {"text": "a", "label": "neg"}])
    assert set(inputs) == {"input_ids", "attention_mask", "position_ids", "labels"}
    assert inputs["input_ids"][1, :2].tolist() == [256, 256]


@pytest.mark.parametrize(
    ("examples", "error", "message"),
    [
        ([], BatchError, "a batch of no examples"),
        ([{"text": "a", "label": "x"}, {"text": "b"}], BatchError, "1 of 2 examples of a batch"),
        ([{"text": "a", "label": "y"}], DatasetError, "label 'y' is unknown"),
    ],
)
def test_the_collator_refuses(examples: list, error: type, message: str) -> None:
    collate = Gpt2ClassificationCollator(byte_tokenizer(), {"x": 0}, 60)
    with pytest.raises(error, match=message):
        collate(examples)


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(BatchError, match="layout 'right' is unknown"):
        Gpt2ClassificationCollator(byte_tokenizer(), {"x": 0}, 60, layout="right")


def test_buckets_round_lengths_up_to_16_and_filler_repeats_the_last_token() -> None:
    packing = Packing.from_cu_seqlens(torch.tensor([0, 2, 19, 20]), 20, torch.device("cpu"))
    assert [(b.start, b.num_texts, b.length) for b in packing.buckets] == [(0, 2, 16), (32, 1, 32)]
    assert packing.slot_to_token[:18].tolist() == [0] + [1] * 15 + [19, 19]
    assert packing.token_to_slot.tolist() == [0, 1, *range(32, 49), 16]


@given(st.lists(st.integers(1, 70), min_size=1, max_size=12))
def test_every_token_has_one_slot_and_finds_back(lengths: list[int]) -> None:
    cu_seqlens = torch.tensor([0, *np.cumsum(lengths)])
    num_tokens = int(cu_seqlens[-1])
    packing = Packing.from_cu_seqlens(cu_seqlens, num_tokens, torch.device("cpu"))
    tokens = torch.arange(num_tokens, dtype=torch.float64)[None, :, None].requires_grad_()
    back = _ToTokens.apply(packing, *_ToSlots.apply(tokens, packing)).transpose(0, 1)
    assert torch.equal(back, tokens)
    back.square().sum().backward()
    assert torch.equal(tokens.grad, 2 * tokens.detach())


def test_texts_are_cut_counted_and_never_empty() -> None:
    texts = ["abcdef", "", "ab", END_OF_TEXT]
    tokens = tokenize(byte_tokenizer(), texts, Reading(4))
    assert tokens.num_tokens.tolist() == [6, 1, 2, 13]
    assert tokens.lengths.tolist() == [4, 1, 2, 4]
    assert tokens.truncated.tolist() == [True, False, False, True]
    assert tokens[1].tolist() == [256]
    assert 256 not in tokens[3].tolist()


def test_cutting_keeps_the_token_that_a_tokenizer_puts_in_front() -> None:
    tokens = tokenize(byte_tokenizer(adds_bos=True), ["abcdef", ""], Reading(3))
    assert tokens[0].tolist()[0] == 257
    assert len(tokens[0]) == 3
    assert tokens[1].tolist() == [257]


def test_pairs_are_tokenized_together() -> None:
    tokens = tokenize(byte_tokenizer(), ["ab"], Reading(9), pairs=["c"])
    assert len(tokens[0]) == 3


def test_no_texts_are_no_tokens() -> None:
    assert len(tokenize(byte_tokenizer(), [], Reading(4))) == 0


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(min_value=1, max_value=120))
def test_budget_batches_hold_every_text_once_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    batches = budget_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch.tolist()) == list(
        range(len(lengths))
    )
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= budget


def test_filler_stands_behind_the_last_text_where_its_row_has_room() -> None:
    packing = Packing.from_cu_seqlens(torch.tensor([0, 16, 29]), 30, torch.device("cpu"))
    assert [(b.num_texts, b.length) for b in packing.buckets] == [(2, 16)]
    full = Packing.from_cu_seqlens(torch.tensor([0, 15, 31]), 32, torch.device("cpu"))
    assert [(b.num_texts, b.length) for b in full.buckets] == [(3, 16)]


@pytest.mark.parametrize(("num_tokens", "width"), [(1, 16), (16, 16), (17, 32), (31, 32)])
def test_a_text_alone_fills_its_bucket_and_is_not_gathered(num_tokens: int, width: int) -> None:
    batch = pack_examples([ids(*range(num_tokens))])
    assert batch.input_ids.shape == (1, width)
    packing = Packing.from_cu_seqlens(batch.cu_seqlens, width, torch.device("cpu"))
    assert packing.is_straight
    tokens = torch.randn(1, 2, width, 4)
    (rows,) = packing.rows(tokens)
    assert rows.shape == (2, 1, width, 4)
    assert rows.data_ptr() == tokens.data_ptr()


def test_texts_that_leave_room_in_their_rows_are_gathered() -> None:
    batch = pack_examples([ids(1, 2, 3), ids(4, 5)])
    width = batch.input_ids.shape[1]
    assert not Packing.from_cu_seqlens(batch.cu_seqlens, width, torch.device("cpu")).is_straight
