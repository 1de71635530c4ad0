"""Broken Unicode (mojibake, stray control characters): found and counted, repaired on request."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from lasttoken.data.examples import Example
from lasttoken.events import EventCallback, Note, ignore

# ftfy never changes a text of these characters: no entity, no control character, no carriage
# return, and nothing beyond ASCII. It is slow, and most texts are of this kind.
_NEVER_CHANGED = re.compile(r"[\t\n\x20-\x25\x27-\x7e]*")
_SHOWN = 30


def check_unicode(
    examples: Sequence[Example], *, fix: bool, on_event: EventCallback = ignore
) -> tuple[Example, ...]:
    """Count the texts that ftfy would change, and tell; with `fix`, return them repaired."""
    repaired = tuple(_repaired(examples))
    changed = [
        (before, after)
        for old, new in zip(examples, repaired, strict=True)
        for before, after in ((old.text, new.text), (old.text_pair, new.text_pair))
        if before is not None and after is not None and before != after
    ]
    if changed:
        before, after = _shown_difference(*changed[0])
        plural = "texts hold" if len(changed) > 1 else "text holds"
        done = "repaired" if fix else "--fix-text repairs them"
        on_event(
            Note(
                f"{len(changed):,} {plural} broken or unusual Unicode, "
                f"such as {before!r} for {after!r}: {done}",
                is_warning=not fix,
            )
        )
    return repaired if fix else tuple(examples)


def fix_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts as ftfy repairs them."""
    suspects = [place for place, text in enumerate(texts) if not _NEVER_CHANGED.fullmatch(text)]
    fixed = list(texts)
    if suspects:
        import ftfy

        for place in suspects:
            fixed[place] = ftfy.fix_text(texts[place])
    return fixed


def _repaired(examples: Sequence[Example]) -> Iterator[Example]:
    """Yield the examples with both texts as ftfy repairs them."""
    texts = fix_texts([example.text for example in examples])
    pairs = iter(fix_texts([e.text_pair for e in examples if e.text_pair is not None]))
    for example, text in zip(examples, texts, strict=True):
        pair = None if example.text_pair is None else next(pairs)
        is_sound = text == example.text and pair == example.text_pair
        yield example if is_sound else dataclasses.replace(example, text=text, text_pair=pair)


def _shown_difference(before: str, after: str) -> tuple[str, str]:
    pairs = zip(before, after, strict=False)
    start = next(
        (place for place, (old, new) in enumerate(pairs) if old != new),
        min(len(before), len(after)),
    )
    start = max(0, start - _SHOWN // 3)
    return before[start : start + _SHOWN], after[start : start + _SHOWN]
