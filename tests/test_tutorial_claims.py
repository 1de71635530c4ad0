"""What the tutorial silently gets wrong with a stock GPT-2, beside ours; the page agrees."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, GPT2ForSequenceClassification

from families import END_OF_TEXT, save_decoder
from lasttoken import Gpt2ClassificationCollator, load_model
from lasttoken.model.batch import pack_examples

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "examples" / "padding_demo.py"
PAGE = ROOT / "docs" / "tutorial-mistakes.md"
TEXTS = ["what a film", "no", "", "it begins slowly, and then " * 4, "fine " * 9, "été à Paris"]

Table = dict[str, list[float]]


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("padding_demo", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Pair:
    """The same weights twice: a stock model used as in the tutorial, and ours."""

    def __init__(self, folder: Path, copy: Path) -> None:
        self.ours, self.tokenizer = load_model(str(folder), ["neg", "pos"], device="cpu")
        self.ours.eval()
        self.ours.hf_model.save_pretrained(copy)
        self.stock = GPT2ForSequenceClassification.from_pretrained(copy).eval()
        self.stock_tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.stock_tokenizer.pad_token = self.stock_tokenizer.eos_token

    @torch.inference_mode()
    def stock_logits(self, texts: list[str]) -> Tensor:
        return self.stock(**self.stock_tokenizer(texts, padding=True, return_tensors="pt")).logits

    @torch.inference_mode()
    def our_logits(self, texts: list[str], layout: str) -> Tensor:
        collator = Gpt2ClassificationCollator(self.tokenizer, {}, layout=layout)  # type: ignore[arg-type]
        return self.ours(**collator([{"text": text} for text in texts])).logits

    @torch.inference_mode()
    def true_end(self, ids: list[int]) -> Tensor:
        """The last hidden state times the head, (1, C): what a classifier promises to read."""
        states = self.stock.transformer(torch.tensor([ids])).last_hidden_state
        score: nn.Module = self.stock.score
        return score(states[:, -1])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("claims")
    return Pair(save_decoder(folder / "gpt2"), folder / "copy")


def test_stock_answers_change_with_the_batch_mates(pair: Pair) -> None:
    text = TEXTS[0]
    alone = pair.stock_logits([text])[0].softmax(-1)
    mates = [pair.stock_logits([text, mate])[0].softmax(-1) for mate in (TEXTS[3], TEXTS[4])]
    assert (alone - mates[0]).abs().max() > 0.01
    assert (alone - mates[1]).abs().max() > 0.01
    assert (mates[0] - mates[1]).abs().max() > 0.01


@pytest.mark.parametrize("layout", ["packed", "left"])
def test_our_answers_do_not_change_by_a_bit(pair: Pair, layout: str) -> None:
    together = pair.our_logits(TEXTS, layout)
    for place, text in enumerate(TEXTS):
        assert torch.equal(together[place], pair.our_logits([text], layout)[0])
        for mate in TEXTS:
            assert torch.equal(together[place], pair.our_logits([mate, text], layout)[1])


def test_both_layouts_give_the_same_bits(pair: Pair) -> None:
    assert torch.equal(pair.our_logits(TEXTS, "packed"), pair.our_logits(TEXTS, "left"))


def test_our_left_padded_batches_mend_the_stock_model_too(pair: Pair) -> None:
    texts = [text for text in TEXTS if text]
    batch = Gpt2ClassificationCollator(pair.tokenizer, {}, layout="left")(
        [{"text": text} for text in texts]
    )
    with torch.inference_mode():
        torch.testing.assert_close(
            pair.stock(**batch).logits, pair.our_logits(texts, "packed"), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("ending", [END_OF_TEXT, END_OF_TEXT * 2])
def test_stock_heads_never_see_a_closing_marker(pair: Pair, ending: str) -> None:
    text = "what a film"
    ids = pair.stock_tokenizer(text + ending)["input_ids"]
    assert ids[-1] == pair.stock_tokenizer.pad_token_id
    # Causal: the state before the marker is that of the text without it.
    torch.testing.assert_close(
        pair.stock_logits([text + ending]), pair.stock_logits([text]), rtol=0, atol=1e-5
    )
    assert (pair.stock_logits([text + ending]) - pair.true_end(ids)).abs().max() > 0.01


@pytest.mark.parametrize(
    "text", ["what a film" + END_OF_TEXT, "a" + END_OF_TEXT * 2, END_OF_TEXT, END_OF_TEXT * 3]
)
def test_ours_reads_the_marker_at_its_place(pair: Pair, text: str) -> None:
    ids = pair.stock_tokenizer(text)["input_ids"]  # the marker as one special token
    batch = pack_examples([np.array(ids), np.array([7, 8, 9])])
    with torch.inference_mode():
        ours = pair.ours(**batch.to_inputs()).logits[:1]
    torch.testing.assert_close(ours, pair.true_end(ids), rtol=0, atol=1e-5)


def test_in_our_tokenizer_the_marker_is_text(pair: Pair) -> None:
    ids = pair.tokenizer("what a film" + END_OF_TEXT)["input_ids"]
    assert pair.tokenizer.eos_token_id not in ids
    ours = pair.our_logits(["what a film" + END_OF_TEXT], "packed")
    torch.testing.assert_close(ours, pair.true_end(ids), rtol=0, atol=1e-5)


def test_the_program_shows_what_the_page_says(
    demo: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = demo.measure(str(save_decoder(tmp_path / "gpt2")))
    demo.show("padding tokens in front of the text", demo.WIDTHS, tables[0])
    demo.show("end of the text", ("as written", "+ marker"), tables[1])
    printed, shown = capsys.readouterr().out, page_output()
    assert re.sub(r"[\d.]{5,}", "#", printed.strip()) == re.sub(r"[\d.]{5,}", "#", shown)
    for padding, ending in (tables, read_tables(shown)):
        check_claims(padding, ending)


def test_the_demo_can_make_its_own_model(demo: ModuleType, tmp_path: Path) -> None:
    folder = demo.save_random_gpt2(
        tmp_path / "tiny", n_layer=1, n_embd=8, n_head=2, n_positions=256
    )
    padding, _ = demo.measure(str(folder))
    assert len(set(padding["lasttoken, packed"])) == 1


@pytest.mark.slow
def test_the_page_holds_the_numbers_of_the_true_size() -> None:
    printed = subprocess.run(
        [sys.executable, str(PROGRAM)], check=True, capture_output=True, text=True
    ).stdout
    for found, shown in zip(read_tables(printed), read_tables(page_output()), strict=True):
        for name, values in shown.items():
            assert found[name] == pytest.approx(values, abs=1e-4)


def check_claims(padding: Table, ending: Table) -> None:
    stock, positioned, left, packed = padding.values()
    assert min(abs(value - stock[0]) for value in stock[1:]) > 1e-3
    assert max(positioned) - min(positioned) < 1e-5
    assert set(left) == set(packed)
    assert len(set(packed)) == 1
    assert packed[0] == pytest.approx(stock[0], abs=1e-5)
    head, ours, by_hand, as_text = ending.values()
    assert head[0] == pytest.approx(head[1], abs=1e-6)
    assert abs(by_hand[1] - by_hand[0]) > 1e-3
    assert ours == pytest.approx(by_hand, abs=1e-5)
    assert as_text[0] == ours[0]
    assert as_text[1] != ours[1]


def page_output() -> str:
    """The program's output as the page shows it."""
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)
    return next(block for block in blocks if block.startswith("padding tokens")).strip()


def read_tables(printed: str) -> list[Table]:
    return [
        {
            line[:38].strip(): [float(number) for number in line[38:].split()]
            for line in table.splitlines()[1:]
        }
        for table in printed.strip().split("\n\n")
    ]
