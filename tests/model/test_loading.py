"""Loading: head, labels, pad token, GELU, limits, reading path, and what is refused."""

from __future__ import annotations

import json
import logging
import re
import shutil
import stat
import warnings
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BloomConfig,
    GPTNeoConfig,
    GptOssConfig,
    MambaConfig,
)
from transformers.activations import NewGELUActivation

from families import CONFIGS, END_OF_TEXT, byte_tokenizer, save_decoder
from lasttoken import BackboneError, load_model
from lasttoken.data.labels import LabelSpec
from lasttoken.model.backbone import load_tokenizer, token_limit
from lasttoken.model.batch import pack_examples
from lasttoken.model.folder import (
    ModelRecord,
    load_for_prediction,
    load_for_training,
    save_model_folder,
)
from lasttoken.model.reading import Reading
from lasttoken.model.tokens import tokenize

LABELS = LabelSpec(("bad", "good"))
GELU_TOLERANCE = 1e-6


def save_with_tokenizer(folder: Path, config: object) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    return save_decoder(tmp_path / "decoder")


def test_the_model_knows_labels_and_pad_token_and_its_table_is_not_resized(decoder: Path) -> None:
    model, tokenizer = load_model(str(decoder), ["neg", "pos"])
    config = model.hf_model.config
    assert (config.num_labels, config.id2label) == (2, {0: "neg", 1: "pos"})
    assert config.label2id == {"neg": 0, "pos": 1}
    assert config.pad_token_id == tokenizer.pad_token_id == tokenizer.eos_token_id == 256
    assert tokenizer.padding_side == "left"
    assert model.hf_model.get_input_embeddings().num_embeddings == config.vocab_size == 260


def test_loading_and_saving_say_nothing(
    decoder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        loaded = load_for_training(decoder, LABELS, seed=1)
        record = ModelRecord(Reading(100))
        save_model_folder(tmp_path / "saved", loaded.classifier, loaded.tokenizer, record)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_the_fused_gelu_is_the_same_function() -> None:
    x = torch.cat([torch.linspace(-12, 12, 100_001), torch.randn(100_000) * 3])
    difference = NewGELUActivation()(x) - torch.nn.functional.gelu(x, approximate="tanh")
    assert difference.abs().max() < GELU_TOLERANCE


def test_gelu_is_fused_while_running_and_keeps_its_name_in_the_config(
    decoder: Path, tmp_path: Path
) -> None:
    loaded = load_for_training(decoder, LABELS, seed=1)
    kinds = [type(module) for module in loaded.classifier.modules()]
    assert NewGELUActivation not in kinds
    assert kinds.count(torch.nn.GELU) == 2
    save_model_folder(
        tmp_path / "saved", loaded.classifier, loaded.tokenizer, ModelRecord(Reading(9))
    )
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["activation_function"] == "gelu_new"
    assert "lasttoken_packed" not in json.dumps(config)


def test_a_new_head_depends_on_the_seed_alone(decoder: Path) -> None:
    first, again, other = (
        load_for_training(decoder, LABELS, seed=seed).classifier.hf_model.score.weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_loading_leaves_the_global_generator_alone(decoder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_for_training(decoder, LABELS, seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_training_may_start_from_a_classifier_whose_head_is_kept_with_its_order(
    decoder: Path, tmp_path: Path
) -> None:
    first = load_for_training(decoder, LabelSpec(("good", "bad")), seed=1)
    assert first.head_is_new
    folder = tmp_path / "saved"
    save_model_folder(folder, first.classifier, first.tokenizer, ModelRecord(Reading(9)))
    again = load_for_training(folder, LABELS, seed=2)
    assert not again.head_is_new
    assert again.classifier.labels.labels == ("good", "bad")
    head = again.classifier.hf_model.score.weight
    assert torch.equal(head, first.classifier.hf_model.score.weight)


def test_load_model_gives_the_labels_the_ids_asked_for(decoder: Path, tmp_path: Path) -> None:
    first = load_for_training(decoder, LabelSpec(("neg", "pos")), seed=1)
    folder = tmp_path / "saved"
    save_model_folder(folder, first.classifier, first.tokenizer, ModelRecord(Reading(99)))
    model, tokenizer = load_model(str(folder), ["pos", "neg"], device="cpu")
    batch = pack_examples([tokenize(tokenizer, ["some words"], Reading(99))[0]]).to_inputs()
    with torch.no_grad():
        expected = first.classifier(**batch).logits.flip(1)
        assert torch.equal(model(**batch).logits, expected)
    assert model.hf_model.config.id2label == {0: "pos", 1: "neg"}
    assert model.labels.labels == ("pos", "neg")


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c")])
def test_a_head_for_other_labels_is_made_anew(
    decoder: Path, tmp_path: Path, labels: tuple[str, ...]
) -> None:
    first = load_for_training(decoder, LABELS, seed=1)
    folder = tmp_path / "saved"
    save_model_folder(folder, first.classifier, first.tokenizer, ModelRecord(Reading(9)))
    again = load_for_training(folder, LabelSpec(labels), seed=1)
    assert again.head_is_new
    assert again.classifier.labels.labels == labels
    assert again.classifier.hf_model.config.id2label == dict(enumerate(labels))


def test_a_saved_folder_is_as_open_as_any_new_file(decoder: Path, tmp_path: Path) -> None:
    loaded = load_for_training(decoder, LABELS, seed=1)
    folder = tmp_path / "saved"
    save_model_folder(folder, loaded.classifier, loaded.tokenizer, ModelRecord(Reading(9)))
    (tmp_path / "plain").write_text("")
    expected = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {expected}


def test_saved_tokenizers_pad_right_cut_at_the_limit_and_split_special_tokens(
    decoder: Path, tmp_path: Path
) -> None:
    loaded = load_for_training(decoder, LABELS, seed=1)
    folder = tmp_path / "saved"
    save_model_folder(folder, loaded.classifier, loaded.tokenizer, ModelRecord(Reading(7)))
    saved = json.loads((folder / "tokenizer_config.json").read_text())
    assert saved["padding_side"] == "right"
    assert saved["model_max_length"] == 7
    assert saved["split_special_tokens"] is True
    assert loaded.tokenizer.padding_side == "left"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            BloomConfig(vocab_size=260, hidden_size=32, n_layer=2, n_head=4, eos_token_id=256),
            "attention was called 0 times in 2 blocks",
        ),
        (
            GPTNeoConfig(
                vocab_size=260, hidden_size=32, num_layers=2, num_heads=4, eos_token_id=256,
                attention_types=[[["global", "local"], 1]], max_position_embeddings=64,
                window_size=4,
            ),
            "attention was called 0 times in 2 blocks",
        ),
        (
            GptOssConfig(
                vocab_size=260, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_local_experts=2,
                num_experts_per_tok=1, sliding_window=8, eos_token_id=256, pad_token_id=256,
                layer_types=["sliding_attention", "full_attention"],
            ),
            "UnknownAttentionKeywordError: s_aux",
        ),
    ],
    ids=["alibi", "own-attention", "attention-sinks"],
)  # fmt: skip
def test_a_family_that_cannot_be_packed_is_read_padded_and_says_why(
    tmp_path: Path, config: object, reason: str
) -> None:
    folder = save_with_tokenizer(tmp_path / "model", config)
    loaded = load_for_training(folder, LABELS, seed=1)
    assert loaded.classifier.proof.path == "padded"
    assert loaded.classifier.proof.reason == reason
    texts = ["a", "some words", "a much longer text about nothing", END_OF_TEXT]
    tokens = tokenize(loaded.tokenizer, texts, Reading(64))
    rows = [tokens[index] for index in range(len(texts))]
    with torch.no_grad():
        together = loaded.classifier(**pack_examples(rows).to_inputs()).logits
        alone = [loaded.classifier(**pack_examples([row]).to_inputs()).logits for row in rows]
    assert (together - torch.cat(alone)).abs().max() <= 1e-5 * max(1, together.abs().max())


def test_a_family_without_a_classifier_in_transformers_is_refused(tmp_path: Path) -> None:
    config = MambaConfig(vocab_size=260, hidden_size=32, num_hidden_layers=2, eos_token_id=256)
    folder = save_with_tokenizer(tmp_path / "model", config)
    with pytest.raises(BackboneError, match="transformers cannot load it as a classifier"):
        load_for_training(folder, LABELS, seed=1)


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=260, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "bert")
    byte_tokenizer().save_pretrained(tmp_path / "bert")
    with pytest.raises(BackboneError, match="is no decoder: BertForSequenceClassification has no"):
        load_for_training(tmp_path / "bert", LABELS, seed=1)


def test_a_decoder_that_sees_the_future_is_refused(decoder: Path, monkeypatch: object) -> None:
    from lasttoken.model import proof

    model = load_for_training(decoder, LABELS, seed=1).classifier.hf_model
    model.set_attn_implementation("eager")

    class SeesAll(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, **_: object) -> object:
            hidden = torch.nn.functional.one_hot(input_ids, 260).float()
            hidden = hidden + hidden.mean(dim=1, keepdim=True) * 100
            return type("Output", (), {"last_hidden_state": hidden})

    model.transformer = SeesAll()
    with pytest.raises(BackboneError, match="a later token changes what an earlier one holds"):
        proof.choose_path(model)


def test_a_window_that_a_family_keeps_to_its_mask_is_not_lost_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.mistral import modeling_mistral

    folder = save_decoder(tmp_path / "mistral", "mistral")
    attention = modeling_mistral.ALL_ATTENTION_FUNCTIONS.get_interface

    def forgetful(*words: object) -> object:
        function = attention(*words)
        return lambda *args, sliding_window=None, **kwargs: function(*args, **kwargs)

    monkeypatch.setattr(modeling_mistral.ALL_ATTENTION_FUNCTIONS, "get_interface", forgetful)
    loaded = load_for_training(folder, LABELS, seed=1)
    expected = "2 blocks have a window by config.json, 0 hand one on to attention"
    assert (loaded.classifier.proof.path, loaded.classifier.proof.reason) == ("padded", expected)


def test_positions_that_scale_with_the_longest_text_are_not_used(tmp_path: Path) -> None:
    scaled = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0,
              "original_max_position_embeddings": 128}  # fmt: skip
    folder = save_decoder(tmp_path / "llama", "llama", rope_parameters=scaled)
    assert load_for_training(folder, LABELS, seed=1).token_limit == 128


def test_a_family_that_names_its_positions_otherwise_has_a_limit_too() -> None:
    from transformers import MptConfig

    assert token_limit(MptConfig(max_seq_len=128), byte_tokenizer()) == 128


def test_an_earlier_runs_cut_does_not_limit_the_next_run(decoder: Path, tmp_path: Path) -> None:
    first = load_for_training(decoder, LABELS, seed=1)
    folder = tmp_path / "saved"
    save_model_folder(folder, first.classifier, first.tokenizer, ModelRecord(Reading(7)))
    again = load_for_training(folder, LABELS, seed=1)
    assert again.token_limit == again.tokenizer.model_max_length == 512
    assert load_for_prediction(folder).record.reading.max_length == 7


def test_weights_without_a_place_in_the_model_are_named(decoder: Path) -> None:
    config = json.loads((decoder / "config.json").read_text())
    (decoder / "config.json").write_text(json.dumps({**config, "n_layer": 1}))
    with pytest.raises(BackboneError, match=r"weights have no place in the model .* 'transformer"):
        load_for_training(decoder, LABELS, seed=1)


def test_missing_weights_are_named(decoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(decoder / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, decoder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"1 weights are missing .* 'transformer.h.1.mlp.c_fc"):
        load_for_training(decoder, LABELS, seed=1)


def test_prediction_needs_a_trained_head(decoder: Path) -> None:
    with pytest.raises(BackboneError, match="without a trained classification head"):
        load_for_prediction(decoder)


def test_anyones_classifier_of_a_decoder_loads_without_our_record(tmp_path: Path) -> None:
    config = CONFIGS["gpt2"]()
    config.num_labels, config.id2label = 2, {0: "ham", 1: "spam"}
    config.label2id = {"ham": 0, "spam": 1}
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "theirs")
    byte_tokenizer().save_pretrained(tmp_path / "theirs")
    loaded = load_for_prediction(tmp_path / "theirs")
    assert loaded.classifier.labels.labels == ("ham", "spam")
    assert loaded.record.reading.max_length == loaded.token_limit == 512


def test_a_tokenizer_without_end_of_text_is_refused(decoder: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    shutil.rmtree(decoder / "tokenizer", ignore_errors=True)
    tokenizer.save_pretrained(decoder)
    with pytest.raises(BackboneError, match="no end-of-text token"):
        load_tokenizer(decoder)


def test_every_blocks_last_token_state_is_at_hand(decoder: Path) -> None:
    loaded = load_for_training(decoder, LABELS, seed=1)
    tokens = tokenize(loaded.tokenizer, ["one", "another text"], Reading(64))
    batch = pack_examples([tokens[0], tokens[1]]).to_inputs()
    with torch.no_grad():
        states = loaded.classifier.last_token_states(**batch)  # (B, blocks + 1, H)
        assert states.shape == (2, 3, 64)
        assert torch.equal(states[:, -1], loaded.classifier.pool_last_token(**batch))


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("temperature", 0, "temperature 0 is no number above 0"),
        ("temperature", -1, "temperature -1 is no number above 0"),
        ("temperature", float("inf"), "temperature inf is no number above 0"),
        ("reading", {"max_length": "x"}, "max_length 'x' is no whole number above 0"),
        ("reading", {"max_length": 9, "long": "x"}, "long 'x' is none of cut-end, "),
        ("reading", {"max_length": 9, "before": "x"}, "before 'x' is no list of token ids"),
        ("reading", {"max_length": 9, "template": "x"}, "--template 'x': no {text}"),
        ("reading", {"max_length": 9, "after": [7]}, "its tokenizer makes the tokens [64]"),
        ("reading", None, "'NoneType' object is not iterable"),
        ("format", 1, "format 1, of an older lasttoken"),
    ],
)
def test_a_record_that_was_changed_by_hand_is_refused(
    finished_run: Path, tmp_path: Path, name: str, value: object, found: str
) -> None:
    folder = Path(shutil.copytree(finished_run / "model", tmp_path / "model"))
    record = json.loads((folder / "lasttoken.json").read_text())
    (folder / "lasttoken.json").write_text(json.dumps({**record, name: value}))
    with pytest.raises(BackboneError, match=re.escape(found)):
        load_for_prediction(folder)
