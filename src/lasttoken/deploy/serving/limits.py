"""What one client may ask for, and how much may wait: every bound of the server in one place."""

from __future__ import annotations

from dataclasses import dataclass

# Characters a text for each token that is read at once. A token of these tokenizers is rarely
# longer than 20 characters, and tokenizing is the one thing whose cost grows with all of a text.
# Text Embeddings Inference cuts at the same number.
CHARACTERS_PER_TOKEN = 250

# Of one connection read at a time, between two turns of the others. A body may come in chunks of
# one byte, six bytes each on the way: 256 kB of them, asyncio's own measure, take 0.3 s, and these
# 3 to 5 ms.
READ_BYTES = 4_096

# A part that takes longer than this to parse is followed by a rest of so many times as long, shared
# by all connections, so that such parts together get about a fifth of the loop; at most so long, as
# the next may be an honest one. An honest part takes a tenth of a millisecond.
LONG_PART_SECONDS = 0.001
REST_PER_SECOND = 4.0
MOST_REST_SECONDS = 1.0

# When a request is refused before its body is there, what still comes is dropped for so long, in
# parts of so many bytes, which costs little.
LINGER_SECONDS = 2.0
DROP_BYTES = 262_144

# A connection has so long to send the whole head of a request, and to take what it is answered.
HEAD_SECONDS = 10.0
TAKE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a server.

    Attributes:
        max_body_bytes: of a request's body, also of one sent in chunks.
        max_texts: of a request.
        max_characters: of a text, counted before it is tokenized.
        max_bytes_at_hand: of the bodies of all requests that have no answer yet.
        max_explained: texts of a request whose words are weighed.
        max_waiting: texts without an answer yet, all requests together.
        max_waiting_explained: texts whose words wait to be weighed, likewise.
        max_tokens_per_batch: token budget of one forward pass.
        request_seconds: from the end of a request's body to its answer; and for the body to come.
        grace_seconds: from SIGTERM to the end of what was accepted.
    """

    max_body_bytes: int = 2_000_000
    max_texts: int = 256
    max_bytes_at_hand: int = 128_000_000
    max_characters: int = 256_000
    max_explained: int = 16
    max_waiting: int = 1_024
    max_waiting_explained: int = 64
    max_tokens_per_batch: int = 4_096  # as offline: `inference.prediction`
    request_seconds: float = 60.0
    grace_seconds: float = 30.0
