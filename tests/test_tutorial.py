"""The tutorial's program learns, draws and skips unlabeled reviews; stock models fit in."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, GPT2ForSequenceClassification

from families import save_decoder
from lasttoken import Gpt2ClassificationCollator, train, validation

PROGRAM = Path(__file__).parents[1] / "examples" / "tutorial.py"
WORDS = {"neg": ("dull", "weak", "slow"), "pos": ("warm", "rich", "glad")}


@pytest.fixture(scope="module")
def tutorial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def acl_imdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "aclImdb"
    random = np.random.default_rng(0)
    for split, count in (("train", 64), ("test", 24)):
        for label, words in WORDS.items():
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                text = " ".join(["a", *random.choice(words, random.integers(1, 6)), "film"])
                (folder / f"{number}_7.txt").write_text(text, encoding="utf-8")
    unlabeled = root / "train" / "unsup"
    unlabeled.mkdir()
    (unlabeled / "0_0.txt").write_text("nobody has judged this", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decoder(tmp_path_factory.mktemp("models") / "gpt2", initializer_range=0.05)


@pytest.mark.parametrize("layout", ["left", "packed"])
def test_the_tutorial_learns_and_draws(
    tutorial: ModuleType,
    acl_imdb: Path,
    learner: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    layout: str,
) -> None:
    history = tutorial.main(
        [
            *(str(acl_imdb), "--model", str(learner), "--layout", layout),
            *("--learning-rate", "3e-3", "--output", str(tmp_path / "out")),
        ]
    )
    assert len(history) == 4
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["validation_accuracy"] > 0.8
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        f"{plot}.{kind}"
        for plot in ("loss", "accuracy", "confusion_matrix")
        for kind in ("png", "svg")
    }
    printed = capsys.readouterr().out
    assert printed.count("epoch") == 4
    assert "precision" in printed
    assert " 48\n" in printed  # both labels of the test folder, nothing of train/unsup


def test_reviews_without_a_label_are_left_out(tutorial: ModuleType, acl_imdb: Path) -> None:
    reviews = tutorial.load_reviews(acl_imdb / "train")
    assert len(reviews) == 2 * 64
    assert {reviews[i]["label"] for i in range(len(reviews))} == {"neg", "pos"}


def test_the_constants_are_the_tutorials(tutorial: ModuleType) -> None:
    assert (tutorial.SEED, tutorial.BATCH_SIZE, tutorial.MAX_LENGTH) == (123, 32, 60)
    assert tutorial.LABEL_IDS == {"neg": 0, "pos": 1}
    source = PROGRAM.read_text(encoding="utf-8")
    for line in ('"--epochs", type=int, default=4', "default=2e-5", "eps=1e-8", "max_grad_norm=1.0",
                 "num_warmup_steps=0"):  # fmt: skip
        assert line in source


def test_stock_models_train_on_left_padded_batches(tutorial: ModuleType, acl_imdb: Path,
                                                   learner: Path) -> None:  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(learner, padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(0)
    model = GPT2ForSequenceClassification.from_pretrained(
        learner, num_labels=2, pad_token_id=tokenizer.pad_token_id
    )
    collator = Gpt2ClassificationCollator(tokenizer, {"neg": 0, "pos": 1}, 60, layout="left")
    training = DataLoader(tutorial.load_reviews(acl_imdb / "train"), 32, collate_fn=collator,
                          shuffle=True)  # fmt: skip
    testing = DataLoader(tutorial.load_reviews(acl_imdb / "test"), 32, collate_fn=collator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, eps=1e-8)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    before = validation(model, testing, "cpu")
    for epoch in range(4):
        train(model, training, optimizer, scheduler, "cpu", seed=123, epoch=epoch)
    true_labels, predicted_labels, loss = validation(model, testing, "cpu")

    assert true_labels == [0] * 24 + [1] * 24
    assert len(predicted_labels) == 48
    assert loss < before.loss
    assert np.mean(np.array(true_labels) == predicted_labels) > 0.8
