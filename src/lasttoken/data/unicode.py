"""Broken Unicode (mojibake, stray control characters): found and counted, repaired on request."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

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
    fixed = fix_texts([example.text for example in examples])
    changed = [
        (example.text, text)
        for example, text in zip(examples, fixed, strict=True)
        if text != example.text
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
    if not fix or not changed:
        return tuple(examples)
    return tuple(
        example if example.text == text else dataclasses.replace(example, text=text)
        for example, text in zip(examples, fixed, strict=True)
    )


def fix_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts as ftfy repairs them."""
    suspects = [place for place, text in enumerate(texts) if not _NEVER_CHANGED.fullmatch(text)]
    fixed = list(texts)
    if suspects:
        import ftfy

        for place in suspects:
            fixed[place] = ftfy.fix_text(texts[place])
    return fixed


def _shown_difference(before: str, after: str) -> tuple[str, str]:
    pairs = zip(before, after, strict=False)
    start = next(
        (place for place, (old, new) in enumerate(pairs) if old != new),
        min(len(before), len(after)),
    )
    start = max(0, start - _SHOWN // 3)
    return before[start : start + _SHOWN], after[start : start + _SHOWN]
