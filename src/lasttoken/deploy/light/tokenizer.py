"""An exported tokenizer: `tokenizer.json`, called as `model.tokens.tokenize` calls any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lasttoken.errors import BackboneError, DatasetError
from lasttoken.model.reading import Reading


class LightTokenizer:
    """A tokenizer of the library `tokenizers`, to which names of special tokens are text.

    Args:
        backend: a `tokenizers.Tokenizer`.
        reading: says on which side long texts are cut.
        end_of_text_id: what an empty text becomes.

    Attributes:
        eos_token_id: likewise.
        is_fast: that it tells where tokens stand, in the word of transformers.
    """

    is_fast = True

    def __init__(self, backend: Any, reading: Reading, end_of_text_id: int) -> None:  # noqa: ANN401 - untyped library
        self.eos_token_id = end_of_text_id
        self._backend = backend
        self._side = reading.truncation_side
        backend.no_padding()
        backend.no_truncation()

    @classmethod
    def from_file(cls, path: Path, reading: Reading, end_of_text_id: int) -> LightTokenizer:
        """Load `tokenizer.json`.

        Raises:
            BackboneError: it cannot be read.
        """
        from tokenizers import Tokenizer

        try:
            backend = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            raise BackboneError(
                f"{path}: {error}",
                expected="a tokenizer as the library tokenizers reads it",
                remedy="copy the whole folder again, or export the run again",
            ) from error
        return cls(backend, reading, end_of_text_id)

    def __call__(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        add_special_tokens: bool = True,
        truncation: bool = False,
        max_length: int | None = None,
        return_offsets_mapping: bool = False,
        **settings: object,
    ) -> Mapping[str, list[Any]]:
        """Return `input_ids` of N texts, or of N texts and their pairs.

        Args:
            texts: N strings.
            pairs: N second ones.
            add_special_tokens: whether to put there what stands around every text.
            truncation: cut to `max_length` tokens, the longer of two texts first.
            max_length: tokens.
            return_offsets_mapping: return `offset_mapping` too: of each token the first character,
                and the one behind its last.
            settings: others that a tokenizer of transformers takes; here they are always so.

        Raises:
            DatasetError: a text is no string, or holds half a character.
        """
        del settings
        self._backend.encode_special_tokens = True  # neither tokenizer.json nor a copy keeps it
        if truncation:
            self._backend.enable_truncation(
                max_length, strategy="longest_first", direction=self._side
            )
        try:
            inputs = texts if pairs is None else list(zip(texts, pairs, strict=True))
            encoded = self._backend.encode_batch(inputs, add_special_tokens=add_special_tokens)
        except TypeError as error:  # half a character too, as JSON may hold one
            raise DatasetError(
                "a text that is no string of whole characters",
                expected="strings without lone surrogates",
                remedy='text.encode("utf-8", "replace").decode()',
            ) from error
        finally:
            if truncation:
                self._backend.no_truncation()
        found: dict[str, list[Any]] = {"input_ids": [each.ids for each in encoded]}
        if return_offsets_mapping:
            found["offset_mapping"] = [each.offsets for each in encoded]
        return found
