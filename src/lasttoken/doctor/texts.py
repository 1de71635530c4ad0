"""Texts to examine a classifier with where none are given: several lengths, nothing else."""

from __future__ import annotations

_SENTENCES = (
    "I would see it again.",
    "The room was smaller than it looked in the pictures, and nobody answered the phone.",
    "Delivered two days late.",
    "What a wonderful evening, from the first song to the last!",
    "The update fixed the crash, but now the battery is empty by noon.",
    "Can you tell me where my order is?",
    "Shares fell by four percent after the company lowered its forecast for the year.",
    "Not bad.",
    "The second half drags, the ending saves it.",
    "He scored twice in the last ten minutes and was carried from the field.",
)


def built_in_texts() -> list[str]:
    """Return 40 English texts of 1 to about 90 words, short and long ones side by side."""
    words = " ".join(_SENTENCES).split()
    short = ["Yes.", "Why?", "Good", "No, thank you.", *_SENTENCES]
    longer = [" ".join(words[start : start + length]) for start, length in _stretches(len(words))]
    mixed = [text for pair in zip(short, longer, strict=False) for text in pair]
    return mixed + longer[len(short) :]


def _stretches(total: int) -> list[tuple[int, int]]:
    """Return 26 places and lengths, 9 to 90 words."""
    lengths = [9 + (number * 37) % 82 for number in range(26)]
    return [((number * 11) % max(1, total - length), length)
            for number, length in enumerate(lengths)]  # fmt: skip
