"""Bad input: three lines that name what was found, what was expected and what to type next.

Every case ends with exit code 2, and nothing is written: no output folder, no output file.
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import FAST, REVIEWS, Command, check_refused, write_reviews

GOOD = "".join(f'"{text}",{label}\n' for text, label in REVIEWS)


class Case(NamedTuple):
    """A faulty file and what is said about it; {file} stands for its path."""

    name: str
    content: str | bytes
    found: str
    expected: str
    remedy: str


BAD_FILES = {
    "an empty file": Case(
        "reviews.csv",
        "",
        "{file}: the file is empty",
        "csv with at least one row",
        "check that the file was written completely",
    ),
    "column names and no row": Case(
        "reviews.csv",
        "text,label\n",
        "{file}: no rows below the column names",
        "at least one row of data",
        "check that the file was written completely",
    ),
    "binary data named .csv": Case(
        "reviews.csv",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "{file}: binary data (byte 8 is NUL)",
        "csv text",
        "--encoding utf-16 if it was saved as UTF-16, else export it as text",
    ),
    "a zip archive named .csv": Case(
        "reviews.csv",
        b"PK\x03\x04 and more",
        "{file}: a zip archive or an .xlsx workbook",
        "csv text",
        "unpack it, or save it as CSV",
    ),
    "an HTML page named .csv": Case(
        "reviews.csv",
        "<!DOCTYPE html>\n<html><body>text,label</body></html>\n",
        "{file}: an HTML page",
        "csv text",
        "download the raw file instead of the page that shows it",
    ),
    "text in another encoding": Case(
        "reviews.csv",
        b"text,label\n" + b"caf\xe9,pos\n",
        "{file}: byte 0xe9 at byte 14 (line 2) is not utf-8",
        "text encoded in utf-8",
        "--encoding cp1252, or the encoding in which the file was saved",
    ),
    "a null text": Case(
        "reviews.jsonl",
        '{"text": "good", "label": "pos"}\n{"text": null, "label": "neg"}\n',
        "{file}: row 2, column 'text': no value (null)",
        "a value in every row",
        "fill the cell, or give --skip-bad-rows",
    ),
    "a null label": Case(
        "reviews.jsonl",
        '{"text": "good", "label": "pos"}\n{"text": "bad"}\n',
        "{file}: row 2, column 'label': no value (null)",
        "a value in every row",
        "fill the cell, or give --skip-bad-rows",
    ),
    "an empty label": Case(
        "reviews.csv",
        "text,label\ngood,pos\nbad,\n",
        "{file}: row 2, column 'label': the label is empty",
        "a label in every row",
        "fill the cell, or give --skip-bad-rows",
    ),
    "a ragged row": Case(
        "reviews.csv",
        "text,label\ngood,pos\nbad, very bad,neg\n",
        "{file}: row 2 (line 3) has 3 fields, the first line has 2",
        "2 fields in every row: text,label",
        "put texts that hold ',' into quotes \"...\", or give --skip-bad-rows",
    ),
    "a quote that never closes": Case(
        "reviews.csv",
        'text,label\ngood,pos\n"bad,neg\nworse,neg\n',
        "{file}: a quote opens in row 2 (line 3) and never closes",
        'quotes inside a quoted text written twice: "he said ""yes"""',
        "mend the quotes in line 3",
    ),
    "broken JSON": Case(
        "reviews.jsonl",
        '{"text": "good", "label": "pos"}\n{"text": "bad", \n',
        "{file}: line 2 is broken JSON: Expecting property name enclosed in double quotes",
        'one JSON object a line: {{"text": "...", "label": "..."}}',
        "mend the line, or give --skip-bad-rows",
    ),
    "a file cut off in its middle, named .parquet": Case(
        "reviews.parquet",
        b"PAR1 and then nothing",
        "{file}: no Parquet file: ",
        "a complete Parquet file",
        "check that the file was written completely, or rename it after its format",
    ),
    "one label only": Case(
        "reviews.csv",
        "text,label\ngood,pos\nbetter,pos\n",
        "the training examples have one label only: 'pos'",
        "at least two different labels",
        "check --label-column, or add examples of another label",
    ),
    "a guessed text column that holds only numbers": Case(
        "reviews.csv",
        "text,label\n" + "1.5,pos\n2,neg\n" * 10,
        "{file}: column 'text', guessed to be the text, holds only numbers, such as '1.5'",
        "a column of texts",
        "--text-column NAME (--text-column text if it is right)",
    ),
    "columns of which none is known": Case(
        "reviews.csv",
        "a,b,c\n" + "1,2,3\n" * 3,
        "{file}: no column is known as the text; the columns are 'a', 'b', 'c'",
        "a column named text, or one of sentence, review",
        "--text-column NAME",
    ),
    "too few examples for a validation split": Case(
        "reviews.csv",
        "text,label\ngood,pos\nbad,neg\nbetter,pos\nworse,neg\n",
        "--test 0.1 --validation 0.1 of 4 distinct texts is 0 and 0, for 2 labels",
        "at least one text for each of the 2 labels that have two or more, in every split",
        "--test FILE --validation FILE",
    ),
    "an unknown kind of file": Case(
        "reviews.xlsx",
        b"PK\x03\x04",
        "{file}: unknown kind of file '.xlsx'",
        "one of .csv .tsv .tab .jsonl",
        "rename the file so that its name tells its format, such as reviews.csv",
    ),
}


@pytest.fixture(autouse=True)
def _(without_plots: None) -> None:
    """Where a remedy is run to its end, plots would take most of the time."""


@pytest.fixture
def train(lasttoken: Command, tiny_gpt2: Path) -> Command:
    """Train on the tiny model with the default output folder, which is below the current one."""
    return lambda *words: lasttoken("train", "--model", tiny_gpt2, *FAST, *words)


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_faulty_data_file_is_refused_by_name_and_place(
    train: Command, tmp_path: Path, what: str
) -> None:
    case = BAD_FILES[what]
    file = tmp_path / case.name
    file.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    check_refused(
        train(file),
        found=case.found.format(file=file),
        expected=case.expected.format(),
        remedy=case.remedy,
    )


@pytest.mark.parametrize(
    "what", ["a ragged row", "an empty label", "a null text", "a null label", "broken JSON"]
)
def test_skip_bad_rows_works_where_it_is_the_remedy(
    train: Command, tmp_path: Path, what: str
) -> None:
    case = BAD_FILES[what]
    assert "--skip-bad-rows" in case.remedy
    file = tmp_path / case.name
    assert isinstance(case.content, str)
    as_json = [json.dumps({"text": text, "label": label}) for text, label in REVIEWS]
    file.write_text(case.content + (GOOD if file.suffix == ".csv" else "\n".join(as_json)))
    outcome = train(file, "--skip-bad-rows")
    assert outcome.code == 0, outcome.err
    assert f"warning: {file}: 1 bad row skipped; first row 2" in outcome.err


def test_the_column_named_as_the_remedy_works(train: Command, tmp_path: Path) -> None:
    file = write_reviews(tmp_path / "reviews.csv")
    lines = [line.replace("label", "verdict") if not n else line
             for n, line in enumerate(file.read_text().splitlines())]  # fmt: skip
    file.write_text("\n".join(lines))
    check_refused(
        train(file, "--label-column", "verdit"),
        found=f"{file}: no column 'verdit'",
        expected="one of 'text', 'verdict'",
        remedy="did you mean --label-column verdict?",
    )
    assert train(file, "--label-column", "verdict").code == 0


def test_one_column_for_text_and_label_is_refused(train: Command, tmp_path: Path) -> None:
    file = write_reviews(tmp_path / "reviews.csv")
    remedies = {"text": "--label-column label", "label": "--text-column text"}
    for column, remedy in remedies.items():
        check_refused(
            train(file, "--text-column", column, "--label-column", column),
            found=f"{file}: column '{column}' is given as the text and as the label",
            expected="two columns out of 'text', 'label'",
            remedy=remedy,
        )
    file.write_text("a,b,c\ngood,pos,x\n")
    check_refused(
        train(file, "--text-column", "a", "--label-column", "a"),
        found=f"{file}: column 'a' is given as the text and as the label",
        expected="two columns out of 'a', 'b', 'c'",
        remedy="--label-column NAME",
    )


def test_a_missing_path_is_refused_with_the_nearest_one(train: Command, reviews: Path) -> None:
    check_refused(
        train("./reviws.csv"),
        found="./reviws.csv: no such file or folder",
        expected="a path that exists",
        remedy="did you mean reviews.csv?",
    )
    check_refused(
        train("/nowhere/at/all.csv"),
        found="/nowhere/at/all.csv: no such file or folder",
        expected="a path that exists",
        remedy="check the path",
    )


def test_a_folder_without_label_folders_is_refused(train: Command, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "notes.txt").write_text("good")
    check_refused(
        train(folder),
        found=f"{folder}: no .txt files in subfolders (it holds notes.txt)",
        expected="a folder a label: pos/*.txt, neg/*.txt, or train/pos/*.txt, test/pos/*.txt",
        remedy="name the folder above the label folders",
    )


def test_a_test_label_unknown_to_training_is_refused(
    train: Command, reviews: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("text,label\nfine,pos\nmixed,meh\nsoso,meh\n")
    check_refused(
        train(reviews, "--test", other),
        found=f"label 'meh' of 2 test examples is unknown to training; first in {other}, row 2",
        expected="one of 'neg', 'pos'",
        remedy="mend the label, leave these rows out, or another --test",
    )


def test_an_unusable_test_or_validation_setting_is_refused(train: Command, reviews: Path) -> None:
    check_refused(
        train(reviews, "--test", "1.5"),
        found="--test 1.5: out of range",
        expected="a fraction between 0 and 1, or a path",
        remedy="--test 0.1",
    )
    check_refused(
        train(reviews, "--validation", "./nothing.csv"),
        found="./nothing.csv: no such file or folder",
        expected="a path that exists",
        remedy="check the path",
    )
    check_refused(
        train(reviews, "--validation", "0.001"),
        found="--test 0.1 --validation 0.001 of 40 distinct texts is 4 and 0, for 2 labels",
        expected="at least one text for each of the 2 labels that have two or more",
        remedy="--test 0.04 --validation 0.04",
    )


def test_a_limit_below_the_number_of_labels_is_refused(train: Command, reviews: Path) -> None:
    check_refused(
        train(reviews, "--limit", "1"),
        found="--limit 1: fewer examples than the 2 labels",
        expected="room for one example of every label",
        remedy="--limit 2",
    )


BAD_WORDS = {
    "no command of that name": (
        ("trian", "x.csv"),
        "no command 'trian'",
        "one of train, evaluate, predict",
        "lasttoken --help",
    ),
    "no data": (
        ("train",),
        "Missing from lasttoken train: DATA",
        "what lasttoken train --help shows",
        "lasttoken train --help",
    ),
    "one path too many": (
        ("train", "a.csv", "b.csv"),
        "Unrecognized options: b.csv",
        "what lasttoken train --help shows",
        "lasttoken train --help",
    ),
    "no input to predict": (
        ("predict", "run"),
        "Missing from lasttoken predict: INPUT",
        "what lasttoken predict --help shows",
        "lasttoken predict --help",
    ),
    "a flag that is none": (
        ("train", "a.csv", "--num-epoch", "3"),
        "Unrecognized options: --num-epoch",
        "what lasttoken train --help shows",
        "did you mean --num-epochs?",
    ),
    "a flag without its value": (
        ("train", "a.csv", "--model"),
        "Missing value for argument '--model'",
        "what lasttoken train --help shows",
        "lasttoken train --help",
    ),
    "a value that is no choice": (
        ("train", "a.csv", "--precision", "fp8"),
        "invalid choice 'fp8' for argument '--precision'",
        "one of 'auto', 'fp32', 'bf16'",
        "lasttoken train --help",
    ),
    "a number that is none": (
        ("train", "a.csv", "--num-epochs", "three"),
        "Error parsing --num-epochs: cannot be 'three'",
        "what lasttoken train --help shows",
        "lasttoken train --help",
    ),
    "an optional number that is none": (
        ("train", "a.csv", "--limit", "1.5"),
        "Error parsing --limit: cannot be '1.5'",
        "what lasttoken train --help shows",
        "lasttoken train --help",
    ),
    "values out of range, all told at once": (
        ("train", "a.csv", "--batch-size", "0", "--warmup-fraction", "1"),
        "--batch-size 0; --warmup-fraction 1.0",
        "--batch-size a number above 0; --warmup-fraction below 1",
        "give another value",
    ),
    "a number that is not a number": (
        ("train", "a.csv", "--learning-rate", "nan"),
        "--learning-rate nan",
        "--learning-rate a number above 0",
        "give another value",
    ),
    "a seed below every seed": (
        ("train", "a.csv", "--seed", "-1"),
        "--seed -1",
        "--seed between 0 and 4294967295",
        "give another value",
    ),
    "a seed above every seed": (
        ("train", "a.csv", "--seed", "4294967296"),
        "--seed 4294967296",
        "--seed between 0 and 4294967295",
        "give another value",
    ),
    "a file of settings that is not there": (
        ("train", "a.csv", "--config", "missing.toml"),
        "--config missing.toml: No such file or directory",
        "a readable TOML file",
        "check the path given to --config",
    ),
    "no file after --config": (
        ("train", "a.csv", "--config"),
        "--config: no file given",
        "a TOML file",
        "lasttoken train ... --config run.toml",
    ),
}


@pytest.mark.parametrize("what", BAD_WORDS)
def test_unusable_words_are_refused(lasttoken: Command, what: str) -> None:
    words, found, expected, remedy = BAD_WORDS[what]
    check_refused(lasttoken(*words), found=found, expected=expected, remedy=remedy)


BAD_TOML = {
    "an unknown setting": (
        "num_epoch = 3",
        "--config run.toml: unknown setting 'num_epoch'",
        "one of batch_size, checkpoint_minutes, checkpoint_steps, class_weights, data, depth",
        "did you mean 'num_epochs'?",
    ),
    "a line that is no TOML": (
        "num_epochs: 3",
        "--config run.toml: Expected '=' after a key in a key/value pair (at line 1",
        "TOML, such as: num_epochs = 2",
        "mend the line named above",
    ),
    "a text for a switch": (
        'overwrite = "yes"',
        "--config: overwrite = yes",
        "true or false",
        "overwrite = true",
    ),
    "a switch for a text": (
        "model = true",
        "--config: model = true",
        "a string or a number",
        'model = "..."',
    ),
    "a list": (
        "model = ['gpt2']",
        "--config: model = ['gpt2']",
        "a string or a number",
        'model = "..."',
    ),
}


@pytest.mark.parametrize("what", BAD_TOML)
def test_an_unusable_file_of_settings_is_refused(
    lasttoken: Command, tmp_path: Path, what: str
) -> None:
    content, found, expected, remedy = BAD_TOML[what]
    (tmp_path / "run.toml").write_text(content)
    outcome = lasttoken("train", "a.csv", "--config", "run.toml")
    check_refused(outcome, found=found, expected=expected, remedy=remedy)


def test_a_device_that_is_not_there_is_refused(train: Command, reviews: Path) -> None:
    check_refused(
        train(reviews, "--device", "warp9"),
        found="--device warp9: ",
        expected="auto, cpu, or a device that torch finds on this machine",
        remedy="--device auto",
    )
    check_refused(
        train(reviews, "--device", "cuda:7"),
        found="--device cuda:7: ",
        expected="auto, cpu, or a device that torch finds on this machine",
        remedy="--device auto",
    )


def test_an_unknown_encoding_is_refused(train: Command, reviews: Path) -> None:
    check_refused(
        train(reviews, "--encoding", "utf-9"),
        found="--encoding utf-9: unknown encoding",
        expected="an encoding of text, such as utf-8",
        remedy="--encoding utf-8",
    )


def test_more_tokens_than_the_model_can_read_are_refused_and_the_remedy_works(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path
) -> None:
    words = ("train", reviews, "--model", tiny_gpt2, "--num-epochs", "1")
    check_refused(
        lasttoken(*words, "--max-length", "513"),
        found=f"--max-length 513: more than model '{tiny_gpt2}' can read",
        expected="at most 512 tokens",
        remedy="--max-length 512, or leave it out",
    )
    assert lasttoken(*words, "--max-length", "512").code == 0


def test_a_model_path_that_is_not_there_is_refused(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path
) -> None:
    wrong = tiny_gpt2.with_name("tiny-gpt3")
    check_refused(
        lasttoken("train", reviews, "--model", wrong),
        found=f"--model {wrong}: no such file or folder",
        expected="a model folder, a .gguf file, a Hub id, or a sample name",
        remedy=f"did you mean {tiny_gpt2}?",
    )
    check_refused(
        lasttoken("train", reviews, "--model", "./missing.gguf"),
        found="--model missing.gguf: no such file or folder",
        expected="a model folder, a .gguf file, a Hub id, or a sample name",
        remedy="--model smollm2 works right now",
    )


def test_a_folder_that_is_no_model_is_refused(
    lasttoken: Command, reviews: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "no-model"
    folder.mkdir()
    check_refused(
        lasttoken("train", reviews, "--model", folder),
        found=f"{folder}: no config.json in this folder",
        expected="a model folder: config.json, *.safetensors and tokenizer files",
        remedy="check --model",
    )
    (folder / "adapter_config.json").write_text("{}")
    check_refused(
        lasttoken("train", reviews, "--model", folder),
        found=f"{folder}: an adapter without its base model",
        expected="a model folder",
        remedy="merge the adapter into its base model first",
    )


def test_a_file_that_is_no_gguf_is_refused(
    lasttoken: Command, reviews: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"<html>not a model</html>")
    check_refused(
        lasttoken("train", reviews, "--model", file),
        found=f"{file}: not a GGUF model that transformers can read: ",
        expected="a GGUF file of a decoder",
        remedy="--model smollm2, or a folder with safetensors",
    )


def save_model(folder: Path, config: object, model_class: type) -> Path:
    from families import byte_tokenizer

    model_class(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_an_encoder_is_refused(lasttoken: Command, reviews: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=260, intermediate_size=16, **sizes)
    folder = save_model(tmp_path / "bert", config, BertForMaskedLM)
    check_refused(
        lasttoken("train", reviews, "--model", folder),
        found=f"model '{folder}' is no decoder: BertForSequenceClassification has no last-token",
        expected="a causal language model, whose last token has seen the whole text",
        remedy="--model smollm2, gpt2, or a folder of the GPT-2, Llama",
    )


def test_a_model_with_an_encoder_is_refused(
    lasttoken: Command, reviews: Path, tmp_path: Path
) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=260, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    folder = save_model(tmp_path / "t5", config, T5ForConditionalGeneration)
    check_refused(
        lasttoken("train", reviews, "--model", folder),
        found=f"model '{folder}' is no decoder: model type 't5', has an encoder",
        expected="a causal language model, whose last token has seen the whole text",
        remedy="--model smollm2, gpt2, or a folder of the GPT-2, Llama",
    )


class _Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.marker), "w"))


def test_pickled_weights_are_refused_and_never_opened(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_gpt2, tmp_path / "pickled"))
    (folder / "model.safetensors").unlink()
    marker = tmp_path / "was-run"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Payload(marker)))
    check_refused(
        lasttoken("train", reviews, "--model", folder),
        found=f"{folder}: pickled weights (pytorch_model.bin)",
        expected="weights as *.safetensors (loading a pickle can run any code)",
        remedy="where you trust the file, load it with transformers and call save_pretrained()",
    )
    assert not marker.exists()
    (folder / "pytorch_model.bin").unlink()
    check_refused(
        lasttoken("train", reviews, "--model", folder),
        found=f"{folder}: no weights",
        expected="weights as *.safetensors",
        remedy="where you trust the file",
    )


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("config.json", "auto_map", {"AutoModel": "evil.Evil"}),
        ("tokenizer_config.json", "auto_map", {"AutoTokenizer": ["evil.Evil", None]}),
        ("config.json", "_attn_implementation_internal", "someone/kernel"),
        ("config.json", "_attn_implementation", "someone/kernel:attention"),
        ("config.json", "attn_implementation", "someone/kernel"),
    ],
)
def test_a_model_that_asks_for_foreign_code_is_refused(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, tmp_path: Path,
    file: str, key: str, value: object,
) -> None:  # fmt: skip
    folder = Path(shutil.copytree(tiny_gpt2, tmp_path / "foreign"))
    (folder / "evil.py").write_text("open('was-run', 'w'); class Evil: pass")
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, key: value}))
    check_refused(
        lasttoken("train", reviews, "--model", folder),
        found=f"{folder / file}: the key '{key}' asks for code from elsewhere",
        expected="a model that transformers itself knows how to run",
        remedy=f"remove '{key}' if transformers supports this family",
    )
    assert not Path("was-run").exists()
    (folder / file).write_text(json.dumps(content))  # the remedy
    assert lasttoken("train", reviews, "--model", folder, *FAST).code == 0


def test_foreign_code_hidden_in_a_nested_configuration_is_refused(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_gpt2, tmp_path / "foreign"))
    content = json.loads((folder / "config.json").read_text())
    content["text_config"] = {"auto_map": {"AutoModel": "evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(content))
    outcome = lasttoken("train", reviews, "--model", folder)
    check_refused(
        outcome,
        found=f"{folder / 'config.json'}: the key 'text_config.auto_map' asks for code",
        expected="a model that transformers itself knows how to run",
        remedy="remove 'text_config.auto_map'",
    )


def test_weights_that_do_not_fit_their_configuration_are_refused(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_gpt2, tmp_path / "wrong"))
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "n_layer": 3}))
    check_refused(
        lasttoken("train", reviews, "--model", folder),
        found=f"{folder}: 12 weights are missing or of another shape than config.json says, "
        "first 'transformer.h.2.",
        expected="every weight of the decoder in *.safetensors",
        remedy="fetch or save the model again",
    )


def test_a_model_without_a_tokenizer_is_refused(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_gpt2, tmp_path / "mute"))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    check_refused(
        lasttoken("train", reviews, "--model", folder),
        found=f"{folder}: its tokenizer cannot be loaded: its vocabulary is empty",
        expected="tokenizer.json beside config.json",
        remedy="save the tokenizer into the folder with save_pretrained()",
    )


def test_a_tokenizer_of_another_model_is_refused(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 100, "n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 64}
    config = GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)
    folder = save_model(tmp_path / "small", config, GPT2LMHeadModel)
    check_refused(
        lasttoken("train", reviews, "--model", folder),
        found=f"{folder}: its tokenizer makes ids up to 257, the model knows 100 tokens",
        expected="the tokenizer that the model was trained with",
        remedy="fetch or save the tokenizer again",
    )


@pytest.mark.parametrize("content", ["{ broken", "[1, 2]", '{"model_type": "martian"}'])
def test_an_unusable_configuration_is_refused(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, tmp_path: Path, content: str
) -> None:
    folder = Path(shutil.copytree(tiny_gpt2, tmp_path / "broken"))
    (folder / "config.json").write_text(content)
    outcome = lasttoken("train", reviews, "--model", folder)
    check_refused(outcome, found=f"{folder}", expected="", remedy="")


def test_an_output_folder_with_something_else_in_it_is_refused(
    train: Command, reviews: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    check_refused(
        train(reviews, "--output-dir", folder),
        found=f"--output-dir {folder}: holds something that is no run",
        expected="a folder that does not exist, is empty, or holds an earlier run",
        remedy="another --output-dir",
    )
    (folder / "model").mkdir()  # a name that runs use too, but not written by one
    check_refused(
        train(reviews, "--output-dir", folder, "--overwrite"),
        found=f"--output-dir {folder}: holds something that is no run",
        expected="a folder that does not exist, is empty, or holds an earlier run",
        remedy="another --output-dir",
    )
    assert sorted(path.name for path in folder.iterdir()) == ["model", "thesis.txt"]
    check_refused(
        train(reviews, "--output-dir", reviews, "--overwrite"),
        found=f"--output-dir {reviews}: is a file",
        expected="a folder that does not exist or is empty",
        remedy="another --output-dir",
    )
