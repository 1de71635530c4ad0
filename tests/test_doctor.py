"""`lasttoken doctor`: anyone's checkpoint, what padding does to it, and a repaired folder."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from conftest import Command, check_refused, hash_folder
from families import CONFIGS, byte_tokenizer
from padded_checkpoints import FIXED_LENGTH, capital_texts, save_language_model, train_stock

ROWS = tuple(zip(*capital_texts(200, seed=99), strict=True))
FEW = ("--limit", "40")  # where accuracy is not what is asked


def write_rows(path: Path, names: dict[str, str] | None = None) -> Path:
    names = names or {"A": "A", "B": "B"}
    lines = [f"{text},{names[label]}" for text, label in ROWS]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "data.csv")


class Patient(NamedTuple):
    """A checkpoint, what the doctor found with 200 labeled texts, and the folder it repaired."""

    folder: Path
    hashes: dict[str, str]  # before
    found: dict[str, Any]
    mended: Path

    @property
    def model(self) -> dict[str, Any]:
        return self.found["model"]


def visit(folder: Path, data: Path, *words: object) -> Patient:
    """Examine and repair a checkpoint once, for all tests that only read what came of it."""
    from lasttoken.cli import main

    mended, hashes = folder.parent / "mended", hash_folder(folder)
    command = ["doctor", folder, data, "--json", "--repair", mended, *words]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main([str(word) for word in command]) == 0
    return Patient(folder, hashes, json.loads(out.getvalue()), mended)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Patient:
    """Batches padded on the left to their longest, a mask and no positions."""
    folder = train_stock(tmp_path_factory.mktemp("stock") / "left", side="left")
    return visit(folder, data, "--labels", "A,B")


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Patient:
    """Every text padded on the left to 48 tokens."""
    folder = tmp_path_factory.mktemp("stock") / "fixed"
    return visit(train_stock(folder, side="left", length=FIXED_LENGTH), data, "--labels", "A,B")


@pytest.fixture(scope="module")
def padding_read(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Patient:
    """Padded on the right to 48 tokens, by another token than the head takes for padding."""
    folder = tmp_path_factory.mktemp("stock") / "padding-read"
    train_stock(folder, side="right", length=FIXED_LENGTH, pad_token_id=0)
    return visit(folder, data, "--labels", "A,B")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Patient:
    """The same decoder, trained by lasttoken."""
    from lasttoken import TextClassifier

    folder = tmp_path_factory.mktemp("ours")
    base = save_language_model(folder / "base")
    texts, labels = capital_texts(2_000, seed=0)
    classifier = TextClassifier(
        str(base), num_epochs=3, batch_size=16, learning_rate=3e-3, precision="fp32"
    )
    classifier.fit(texts, labels).save_pretrained(folder / "model")
    return visit(folder / "model", data)


def examined(lasttoken: Command, *words: object) -> dict[str, Any]:
    outcome = lasttoken("doctor", *words, "--json")
    assert outcome.code in (0, 1), outcome.err
    found = json.loads(outcome.out)
    assert found["exit_code"] == outcome.code
    return found


def answers(model: dict, name: str) -> dict:
    return next(each for each in model["answers"] if each["name"] == name)


def accuracy(model: dict, name: str) -> float:
    return answers(model, name)["score"]["accuracy"]


def kinds(model: dict) -> set[str]:
    return {finding["kind"] for finding in model["findings"] if finding["severity"] != "note"}


# ---- three checkpoints, told apart ----


def test_a_checkpoint_of_left_padding_without_positions_is_recognized(left: Patient) -> None:
    model = left.model
    assert accuracy(model, "left") > 0.97
    assert accuracy(model, "alone") < 0.93
    assert accuracy(model, "left_64") < 0.7
    assert model["trained"].startswith(
        "It was trained on texts padded on the left to the longest of the batch, without "
        "position_ids"
    )
    assert f"accuracy {accuracy(model, 'left'):.3f}" in model["trained"]
    assert f"Each text alone has {accuracy(model, 'alone'):.3f}" in model["trained"]
    assert model["verdict"].startswith(
        "Its predictions depend on padding as the folder is: its tokenizer pads on the left"
    )
    assert "depends_on_batch" in kinds(model)
    first, second, third = model["advice"]
    assert first.startswith("until it is trained anew, lay texts as in training: padded on the le")
    assert f"lasttoken doctor {left.folder} --repair NEW" in second
    assert "lasttoken train DATA --model NEW" in third


def test_a_checkpoint_padded_to_a_fixed_length_is_recognized(fixed: Patient) -> None:
    model = fixed.model
    assert accuracy(model, "left_48") > 0.97
    assert max(accuracy(model, name) for name in ("alone", "left", "left_32", "left_64")) < 0.9
    assert model["trained"].startswith("It was trained on texts padded on the left to 48 tokens")
    assert model["facts"]["saved_lengths"] == [FIXED_LENGTH]  # its tokenizer.json tells too
    assert "was saved by a program that padded on the left to 48 tokens" in str(model["findings"])


def test_a_checkpoint_that_reads_padding_is_recognized(padding_read: Patient) -> None:
    model = padding_read.model
    assert model["trained"].startswith("It was trained on texts padded on the right to 48 tokens")
    assert accuracy(model, "right_48") > 0.97 > 0.9 > accuracy(model, "alone")
    assert {"pad_ids_differ", "depends_on_batch"} <= kinds(model)
    assert "padded with token 256, but the head takes token 0" in str(model["findings"])


def test_our_own_checkpoint_is_sound(lasttoken: Command, ours: Patient) -> None:
    model = ours.model
    assert kinds(model) == set()
    assert examined(lasttoken, ours.folder)["exit_code"] == 0
    assert accuracy(model, "alone") == accuracy(model, "right") == accuracy(model, "packed") > 0.97
    assert accuracy(model, "left_64") < 0.8
    assert model["verdict"].startswith("Its predictions do not depend on padding as the folder is")
    assert model["trained"].startswith(
        "It was trained on texts that begin at the first position (by lasttoken, as its "
        "lasttoken.json says; what was seen does not gainsay it): accuracy "
        f"{accuracy(model, 'alone'):.3f}"
    )
    assert f"has {accuracy(model, 'left'):.3f} (" in model["trained"].split("the next best, ")[1]
    assert model["advice"] == [
        "nothing has to be done; programs of your own that pad on the left must pass position_ids"
    ]


def test_what_few_examples_cannot_tell_apart_is_not_told_apart(
    lasttoken: Command, left: Patient, data: Path
) -> None:
    """Texts alone are better than one way of padding and no better than another: no conclusion."""
    words = (left.folder, data, "--labels", "A,B", "--limit", "8")
    model = examined(lasttoken, *words)["model"]
    assert model["trained"].startswith(
        "Which padding it was trained with cannot be told from 8 examples: each text alone has "
        f"accuracy {accuracy(model, 'alone'):.3f}"
    ), model["trained"]
    assert "padded on the left to the longest of the batch" in model["trained"]
    assert model["trained"].endswith("More examples may tell (--limit).")


def test_without_our_record_what_left_padding_hardly_harms_is_not_told_apart_from_it(
    lasttoken: Command, ours: Patient, data: Path, tmp_path: Path
) -> None:
    """Short shifts end where training's texts lay too; fixed lengths are told apart."""
    folder = Path(shutil.copytree(ours.folder, tmp_path / "nobody-s"))
    (folder / "lasttoken.json").unlink()
    trained = examined(lasttoken, folder, data)["model"]["trained"]
    assert trained.startswith("Which padding it was trained with cannot be told from 200 examples:")
    assert "as good is padded on the left to the longest of the batch, " in trained
    assert "tokens" not in trained


@pytest.mark.parametrize(
    ("gain", "best", "told"),
    [
        (0.09, ["left", "alone"], "Which padding it was trained with cannot be told from 4 ex"),
        (
            0.5,
            ["left"],
            "It was trained on texts padded on the left to the longest of the batch, w",
        ),
        (-0.5, ["alone"], "It was trained on texts that begin at the first position (padded on t"),
    ],
)
def test_a_small_gain_names_no_padding_however_many_examples_show_it(
    left: Patient, gain: float, best: list[str], told: str
) -> None:
    """What was padded on the right may be read a little better when padding shifts it."""
    from lasttoken.doctor.diagnosis import as_good_as_best, diagnose
    from lasttoken.doctor.examine import examine
    from lasttoken.events import ignore

    texts, labels = zip(*ROWS[:4], strict=True)
    ids = np.array(["AB".index(label) for label in labels])
    found = examine(left.folder, texts, ids, ignore)
    rng = np.random.default_rng(0)
    names = ("right", "right_long_neighbor", "left_long_neighbor", "packed")
    judged = {name: found.answers[name] for name in names}
    for name, loss in (("alone", 0.4 * (1 + gain)), ("left", 0.4)):
        losses = rng.normal(loss, 0.01, size=5_000)
        score = dataclasses.replace(found.answers[name].score, log_loss=losses.mean())
        judged[name] = dataclasses.replace(found.answers[name], losses=losses, score=score)
    judged["left"] = dataclasses.replace(judged["left"], is_same=False)
    found = dataclasses.replace(found, answers=judged, majority=0.1)
    assert [each.name for each in as_good_as_best(found)] == best
    assert diagnose(found).trained.startswith(told)


def test_every_accuracy_has_its_interval_and_its_difference_to_texts_alone(left: Patient) -> None:
    model = left.model
    for each in model["answers"]:
        low, high = each["score"]["interval"]
        assert low < each["score"]["accuracy"] <= high or each["score"]["accuracy"] == high == 1
        assert each["score"]["accuracy"] == each["score"]["num_correct"] / 200
    over = answers(model, "left")["score"]["over_alone"]
    assert over["share"] == pytest.approx(accuracy(model, "left") - accuracy(model, "alone"))
    assert over["interval"][0] > 0


def test_stock_answers_are_those_of_transformers(left: Patient) -> None:
    """Each arrangement, beside the tokenizer's own padding and a plain call."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from lasttoken.doctor.arrangements import ALWAYS, lay

    texts = [text for text, _ in ROWS[:16]]
    tokenizer = AutoTokenizer.from_pretrained(left.folder)
    model = AutoModelForSequenceClassification.from_pretrained(left.folder).eval()
    ids = tokenizer(texts, padding=False, truncation=False)["input_ids"]
    forms = {form.name: form for form in ALWAYS}
    for side in ("left", "right"):
        tokenizer.padding_side = side
        rows = tokenizer(texts, padding=True, truncation=False, return_tensors="pt")
        (inputs,) = lay(ids, forms[side], fill_id=tokenizer.pad_token_id, limit=128)
        assert inputs.keys() == {"input_ids", "attention_mask"}
        for name, values in inputs.items():
            assert torch.equal(values, rows[name]), name
        (inputs,) = lay(ids, forms[f"{side}_positions"], fill_id=256, limit=128)
        expected = (rows["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        assert torch.equal(inputs["position_ids"], expected)
        assert torch.isfinite(model(**inputs).logits).all()


def test_texts_of_one_length_hide_nothing(
    lasttoken: Command, fixed: Patient, tmp_path: Path
) -> None:
    """Beside each other they have no padding at all."""
    rows = [f"{text[:12]:a<12},{label}" for text, label in ROWS if label in text[:12]]
    (tmp_path / "even.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    model = examined(lasttoken, fixed.folder, "even.csv", "--labels", "A,B")["model"]
    assert answers(model, "left")["is_same"]
    assert not answers(model, "left_long_neighbor")["is_same"]
    assert "depends_on_batch" in kinds(model)
    assert model["trained"].startswith("It was trained on texts padded on the left to 48 tokens")


def test_a_length_that_the_model_does_not_read_is_refused(
    lasttoken: Command, left: Patient, data: Path
) -> None:
    check_refused(
        lasttoken("doctor", left.folder, data, "--labels", "A,B", "--padded-length", "129"),
        found="--padded-length 129: the model reads up to 128 tokens", expected="2 to 128",
        remedy="the length that its training padded to, or leave it out",
    )  # fmt: skip


@pytest.mark.slow
def test_a_length_that_the_user_names_is_tried(
    lasttoken: Command, tmp_path: Path, data: Path
) -> None:
    folder = train_stock(tmp_path / "odd", side="left", length=71)
    # A tokenizer that another program saved tells nothing of it.
    byte = byte_tokenizer()
    byte.pad_token = byte.eos_token
    byte.save_pretrained(folder)
    words = (folder, data, "--labels", "A,B")
    model = examined(lasttoken, *words, *FEW)["model"]
    assert not [each for each in model["answers"] if "71" in each["name"]]
    model = examined(lasttoken, *words, "--padded-length", "71")["model"]
    assert model["trained"].startswith("It was trained on texts padded on the left to 71 tokens")
    assert accuracy(model, "left_71") > 0.97


def test_a_label_that_holds_a_comma_is_named_in_quotes(
    lasttoken: Command, left: Patient, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "commas.csv", {"A": '"good, or better"', "B": "bad"})
    refused = lasttoken("doctor", left.folder, data, "--labels", "A,B", *FEW)
    remedy = """--labels 'bad,"good, or better"', in the order of the model's ids"""
    check_refused(
        refused, found=f"{data}: the label 'bad' is none", expected="labels 'A', 'B'", remedy=remedy
    )
    model = examined(lasttoken, left.folder, data, "--labels", '"good, or better",bad')["model"]
    assert accuracy(model, "left") == accuracy(left.model, "left")


# ---- the repaired folder ----


@pytest.mark.parametrize("which", ["left", "fixed", "padding_read", "ours"])
def test_a_repaired_folder_passes_the_same_examination(
    lasttoken: Command, request: pytest.FixtureRequest, data: Path, which: str
) -> None:
    patient: Patient = request.getfixturevalue(which)
    assert patient.found["exit_code"] == 0
    assert hash_folder(patient.folder) == patient.hashes
    model = patient.found["repaired"]
    assert kinds(model) == set()
    for name in ("right", "right_long_neighbor", "right_positions", "packed"):
        assert answers(model, name)["is_same"], name
        assert accuracy(model, name) == accuracy(patient.model, "alone")
    assert model["facts"]["padding_side"] == "right"
    assert model["facts"]["head_pad_id"] == model["facts"]["fill_id"] == 256
    assert model["facts"]["labels"] == ["A", "B"]
    assert model["facts"]["tokenizer_limit"] == 128
    assert hash_folder(patient.mended)["model.safetensors"] == patient.hashes["model.safetensors"]
    assert not list(patient.mended.parent.glob(".mended-*"))
    again = examined(lasttoken, patient.mended, data, *FEW)  # the labels have names now
    assert again["exit_code"] == 0
    assert not any("--repair" in step for step in again["model"]["advice"])


def test_a_repaired_folder_has_the_accuracy_it_promises_in_plain_transformers(
    left: Patient,
) -> None:
    from transformers import pipeline

    classify = pipeline("text-classification", str(left.mended), truncation=True, batch_size=16)
    answered = classify([text for text, _ in ROWS])
    right = sum(answer["label"] == label for answer, (_, label) in zip(answered, ROWS, strict=True))
    assert right / len(ROWS) == accuracy(left.found["repaired"], "alone")
    assert (
        f"its accuracy is that of texts alone, {right / len(ROWS):.3f}" in left.model["advice"][1]
    )


def test_a_repaired_folder_answers_alike_in_a_plain_pipeline(left: Patient) -> None:
    from transformers import pipeline

    classify = pipeline("text-classification", str(left.mended), truncation=True, top_k=None)
    texts = [text for text, _ in ROWS[:20]] + ["a<|endoftext|>", "A" * 300]
    alone = [classify([text])[0] for text in texts]
    together = classify(texts, batch_size=len(texts))
    for one, other in zip(alone, together, strict=True):
        scores = [{each["label"]: each["score"] for each in answer} for answer in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)
        assert scores[0].keys() == {"A", "B"}


def test_lasttoken_goes_on_with_a_repaired_folder(
    lasttoken: Command, fixed: Patient, data: Path
) -> None:
    words = (fixed.mended, data, "--output", "answers.csv", "--precision", "fp32")
    outcome = lasttoken("predict", *words)
    assert outcome.code == 0, outcome.err
    assert Path("answers.csv").read_text().splitlines()[0].startswith("text,label,predicted_label")


def test_a_checkpoint_without_a_pad_token_is_mended(
    lasttoken: Command, left: Patient, data: Path, tmp_path: Path
) -> None:
    from transformers import pipeline

    folder = Path(shutil.copytree(left.folder, tmp_path / "padless"))
    config = json.loads((folder / "config.json").read_text())
    del config["pad_token_id"]
    (folder / "config.json").write_text(json.dumps(config))
    byte_tokenizer().save_pretrained(folder)
    found = examined(lasttoken, folder, data, "--labels", "A,B", "--repair", "mended", *FEW)
    model = found["model"]
    assert {"no_pad_id", "no_pad_token"} <= kinds(model)
    assert model["verdict"] == (
        "Several texts at once are refused by transformers as the folder is: Cannot handle batch "
        "sizes > 1 if no padding token is defined."
    )
    assert accuracy(model, "left") > 0.97  # measured as if the head had been told
    assert found["exit_code"] == 0
    classify = pipeline("text-classification", "mended", batch_size=2)
    assert len(classify(["aBc", "abcdA"])) == 2


def test_texts_with_the_marker_inside_are_what_a_repair_mends(
    lasttoken: Command, left: Patient, tmp_path: Path
) -> None:
    rows = [*ROWS[:30], ("cdA<|endoftext|>", "A"), ("<|endoftext|>aBc", "B")]
    lines = [f"{text},{label}" for text, label in rows]
    (tmp_path / "marked.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    found = examined(lasttoken, left.folder, "marked.csv", "--labels", "A,B", "--repair", "mended")
    told = "2 texts hold <|endoftext|>, of which its tokenizer makes special tokens"
    assert told in str(found["model"]["findings"])
    assert "end_of_text" in kinds(found["model"])
    assert kinds(found["repaired"]) == set()
    assert told not in str(found["repaired"]["findings"])


def test_special_tokens_that_training_may_have_meant_are_not_taken_away(
    lasttoken: Command, left: Patient, data: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(left.folder, tmp_path / "separated"))
    tokenizer = byte_tokenizer(adds_bos=True)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    (tmp_path / "pairs.csv").write_text("text,label\n" + "one<s>two,A\nthree<s>four,B\n" * 5)
    outcome = lasttoken("doctor", folder, "pairs.csv", "--labels", "A,B", "--repair", "mended")
    check_refused(
        outcome,
        found=f"{folder}: the repaired folder does not pass: it reads <s> inside texts as text, "
        "the original as tokens",
        expected="the same answers", remedy="train it anew",
    )  # fmt: skip
    assert not Path("mended").exists()


def test_nothing_is_overwritten_and_nothing_is_left_where_a_repair_fails(
    lasttoken: Command, left: Patient, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    outcome = lasttoken("doctor", left.folder, "--repair", "full")
    check_refused(
        outcome, found="full: already there and not empty", expected="a new folder",
        remedy="choose another name",
    )  # fmt: skip
    (tmp_path / "file").write_text("mine")
    outcome = lasttoken("doctor", left.folder, "--repair", "file")
    check_refused(
        outcome, found="--repair file: is a file", expected="a new folder", remedy="another name"
    )
    outcome = lasttoken("doctor", left.folder, "--repair", left.folder / "inside")
    check_refused(
        outcome, found=f"--repair {left.folder / 'inside'}: lies in the folder that is examined",
        expected="a new folder outside", remedy="another name",
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    assert not (left.folder / "inside").exists()


def test_what_cannot_be_mended_so_is_not_written(
    lasttoken: Command, tmp_path: Path, data: Path
) -> None:
    """A tokenizer that ends every text in the token which the head takes for padding."""
    from tokenizers import processors

    folder = train_stock(tmp_path / "ended", side="right", num_steps=5)
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 256)]
    )
    tokenizer.save_pretrained(folder)
    model = examined(lasttoken, folder, data, "--labels", "A,B", *FEW)["model"]
    assert "packed_differs" in kinds(model)
    assert model["advice"][0].startswith("lasttoken reads it otherwise than it was trained")
    outcome = lasttoken("doctor", folder, data, "--labels", "A,B", "--repair", "mended", *FEW)
    check_refused(
        outcome,
        found=f"{folder}: the repaired folder does not pass: packed by lasttoken, answers are "
        "others than alone",
        expected="the same answers alone, padded on the right, and packed",
        remedy=f"train it anew: lasttoken train DATA --model {folder}",
    )
    assert not Path("mended").exists()
    assert not list(tmp_path.glob(".mended-*"))


# ---- other families, other tasks, other data ----


def test_a_family_of_rotary_positions_does_not_depend_on_padding(
    lasttoken: Command, tmp_path: Path
) -> None:
    from transformers import LlamaForSequenceClassification

    config = CONFIGS["llama"]()
    config.update({"pad_token_id": 256, "id2label": {0: "no", 1: "yes"}})
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "llama")
    tokenizer = byte_tokenizer()
    tokenizer.pad_token, tokenizer.model_max_length = tokenizer.eos_token, 512
    tokenizer.split_special_tokens = True
    tokenizer.init_kwargs["split_special_tokens"] = True
    tokenizer.save_pretrained(tmp_path / "llama")
    found = examined(lasttoken, "llama")
    model = found["model"]
    assert model["verdict"] == "Its predictions do not depend on padding, on either side."
    assert model["trained"].startswith("Which padding it was trained with cannot be told, and need")
    assert model["advice"] == ["nothing has to be done"]
    assert found["exit_code"] == 0


@pytest.mark.parametrize(
    ("kind", "names"),
    [("regression", ["stars"]), ("multi_label_classification", ["joy", "fear", "calm"])],
)
def test_other_tasks_are_examined_by_their_scores(
    lasttoken: Command, tmp_path: Path, data: Path, kind: str, names: list[str]
) -> None:
    from transformers import GPT2ForSequenceClassification

    config = CONFIGS["gpt2"]()
    config.update({"pad_token_id": 256, "id2label": dict(enumerate(names)), "problem_type": kind})
    torch.manual_seed(0)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path / "other")
    tokenizer = byte_tokenizer()
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"
    tokenizer(["a", "ab"], padding=True)  # else the side is not saved
    tokenizer.save_pretrained(tmp_path / "other")
    outcome = lasttoken("doctor", "other", data, "--json", "--repair", "mended", *FEW)
    assert outcome.code == 0, outcome.err
    assert "labels are not used: accuracy is told of models with one label a text" in outcome.err
    found = json.loads(outcome.out)
    assert found["model"]["facts"]["labels"] == found["repaired"]["facts"]["labels"] == names
    assert "depends_on_batch" in kinds(found["model"])
    assert answers(found["model"], "left")["num_other"] > 0
    assert answers(found["model"], "right")["is_same"]
    assert kinds(found["repaired"]) == set()
    assert json.loads(Path("mended/config.json").read_text())["problem_type"] == kind


def test_a_run_is_examined_by_its_folder(lasttoken: Command, finished_run: Path) -> None:
    found = examined(lasttoken, finished_run)
    assert found["model"]["folder"] == str(finished_run / "model")
    assert found["exit_code"] == 0


def test_without_labels_the_padding_of_training_is_not_guessed(
    lasttoken: Command, left: Patient
) -> None:
    Path("texts.txt").write_text("\n".join(text for text, _ in ROWS[:30]) + "\n")
    for words in ((), ("texts.txt",)):
        model = examined(lasttoken, left.folder, *words)["model"]
        assert model["trained"].startswith("Which padding it was trained with can be told with lab")
        assert all(each["score"] is None for each in model["answers"])
        assert model["texts"]["num_texts"] == (30 if words else 40)


def test_labels_that_are_ids_are_taken_for_ids_and_that_is_told(
    lasttoken: Command, left: Patient, tmp_path: Path
) -> None:
    write_rows(tmp_path / "ids.csv", {"A": "0", "B": "1"})
    outcome = lasttoken("doctor", left.folder, "ids.csv", *FEW)
    assert "the labels of DATA are taken for ids: 0 is LABEL_0, 1 is LABEL_1" in outcome.err
    assert "1.000 (0.912 to 1.000)" in outcome.out


def test_labels_in_the_wrong_order_are_noticed(
    lasttoken: Command, left: Patient, data: Path
) -> None:
    model = examined(lasttoken, left.folder, data, "--labels", "B,A", *FEW)["model"]
    assert accuracy(model, "left") < 0.03
    assert {"depends_on_batch", "below_majority"} <= kinds(model)
    assert model["trained"].startswith("Which padding it was trained with cannot be told: under no")
    assert "--labels in the order of ids" in str(model["findings"])


def test_data_of_another_task_is_no_fault_that_a_repair_mends(
    lasttoken: Command, ours: Patient, tmp_path: Path
) -> None:
    write_rows(tmp_path / "swapped.csv", {"A": "B", "B": "A"})
    model = examined(lasttoken, ours.folder, "swapped.csv", *FEW)["model"]
    assert kinds(model) == {"below_majority"}
    assert model["advice"] == [
        "check that DATA is of the task it was trained for, and --labels in the order of ids"
    ]


def test_labels_that_fit_no_id_are_refused(lasttoken: Command, left: Patient, data: Path) -> None:
    check_refused(
        lasttoken("doctor", left.folder, data),
        found=f"{data}: the label 'A' is none of the model's",
        expected="labels 'LABEL_0', 'LABEL_1'",
        remedy="--labels A,B, in the order of the model's ids",
    )


def test_names_that_do_not_fit_the_labels_are_refused(
    lasttoken: Command, left: Patient, ours: Patient
) -> None:
    check_refused(
        lasttoken("doctor", left.folder, "--labels", "A,B,C"), found="--labels A,B,C: 3 names",
        expected="2 different ones, in the order of the ids of LABEL_0, LABEL_1",
        remedy="--labels NAME0,NAME1",
    )  # fmt: skip
    for names in ("A,", ",A"):  # an empty one is counted, and refused
        check_refused(
            lasttoken("doctor", left.folder, "--labels", names), found=f"--labels {names}: 2 names",
            expected="2 different ones", remedy="--labels NAME0,NAME1",
        )  # fmt: skip
    check_refused(
        lasttoken("doctor", ours.folder, "--labels", "B,A"),
        found="--labels B,A: the labels of this model are named in lasttoken.json too",
        expected="a model that was not made by lasttoken", remedy="leave --labels out",
    )  # fmt: skip


def test_a_language_model_and_a_missing_folder_are_refused(
    lasttoken: Command, tiny_gpt2: Path
) -> None:
    check_refused(
        lasttoken("doctor", tiny_gpt2),
        found=f"{tiny_gpt2}: a language model without a trained classification head",
        expected="a sequence-classification model", remedy="train one first: lasttoken train DATA",
    )  # fmt: skip
    check_refused(
        lasttoken("doctor", "no-model"), found="no-model: no such folder",
        expected="a run folder", remedy="check the path",
    )  # fmt: skip
    check_refused(
        lasttoken("doctor", "--repair", "new"), found="--repair new without a model",
        expected="a model folder that is examined", remedy="lasttoken doctor MODEL --repair new",
    )  # fmt: skip


def test_an_encoder_is_refused_by_name(lasttoken: Command, tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    config = BertConfig(
        vocab_size=260, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    backend = byte_tokenizer().backend_tokenizer
    for tokens, told in (
        ({"mask_token": "[MASK]", "cls_token": "[CLS]"}, "its tokenizer has [MASK] and no end-of-"),
        ({"eos_token": "<|endoftext|>"}, "BertForSequenceClassification has no last-token head"),
    ):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **tokens)
        tokenizer.save_pretrained(tmp_path / "bert")
        check_refused(
            lasttoken("doctor", "bert"),
            found=f"model '{Path('bert')}' is no decoder: {told}",
            expected="a causal language model", remedy="--model smollm2, gpt2, or a folder",
        )  # fmt: skip


def test_the_text_in_words_tells_table_verdict_and_steps(
    lasttoken: Command, left: Patient, data: Path
) -> None:
    outcome = lasttoken("doctor", left.folder, data, "--labels", "A,B", "--repair", "mended", *FEW)
    assert outcome.code == 0, outcome.err
    for line in (
        "other labels  score moves   accuracy (95 % interval)",
        "  padded on the left to the longest of the batch, position_ids passed",
        "  packed by lasttoken",
        "Its predictions depend on padding as the folder is",
        "error: padded on the left",
        "    do: lasttoken doctor",
        "what to do, 1: until it is trained anew",
        "repaired: mended",
        "nothing is left to mend in it",
        "Its predictions do not depend on padding as the folder is (its tokenizer pads on the r",
    ):
        assert line in outcome.out, line


def test_texts_that_are_cut_or_empty_are_told(
    lasttoken: Command, ours: Patient, tmp_path: Path
) -> None:
    lines = ["a" * 200, "A", "b" * 129, "c" * 128]
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"text": line}) + "\n" for line in [*lines, ""])
    )
    outcome = lasttoken("doctor", ours.folder, "texts.jsonl")
    assert "note: 2 texts have more than 128 tokens and were cut" in outcome.out
    assert "note: 1 texts have no token and were left out: stock models fail on them" in outcome.out
    assert "4 texts (the first of texts.jsonl), up to 128 tokens" in outcome.out


# ---- this machine ----


def test_alone_it_tells_devices_versions_caches_and_that_there_is_no_network(
    lasttoken: Command, opened_sockets: list[str]
) -> None:
    outcome = lasttoken("doctor")
    assert outcome.code == 0
    facts = dict(line.split(maxsplit=1) for line in outcome.out.splitlines()[:3])
    assert facts["lasttoken"].endswith(f"Python {'.'.join(map(str, _python()))}")
    assert f"torch {torch.__version__}" in outcome.out
    assert "devices         cpu" in outcome.out
    assert "Hub cache" in outcome.out
    assert "lasttoken cache" in outcome.out
    assert "cannot be reached" in outcome.out
    assert "no token" in outcome.out
    assert len(opened_sockets) <= 2  # asked once


def test_told_to_stay_offline_it_asks_nobody(
    lasttoken: Command, opened_sockets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    outcome = lasttoken("doctor")
    assert "not asked: HF_HUB_OFFLINE is 1; a token is there" in outcome.out
    assert "hf_secret" not in outcome.out + outcome.err
    assert opened_sockets == []


def _python() -> tuple[int, int, int]:
    import sys

    return sys.version_info[:3]
