"""What a launcher asks for and is not done is refused before anything is read or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Command, check_refused


@pytest.mark.parametrize("how", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_a_launcher_that_shards_is_refused_by_name(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{how}", "true")
    check_refused(
        lasttoken("train", reviews, "--model", tiny_gpt2),
        found=f"launched as {how}",
        expected="one process, or several that hold the whole model each (DDP)",
        remedy="torchrun --nproc-per-node N -m lasttoken train ...",
    )


def test_in_python_too(reviews: Path, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lasttoken import TextClassifier
    from lasttoken.errors import ConfigError

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    texts = [f"a {word} film {n}" for n in range(10) for word in ("good", "bad")]
    with pytest.raises(ConfigError, match="launched as FSDP"):
        TextClassifier(str(tiny_gpt2), num_epochs=1).fit(texts, ["pos", "neg"] * 10)
