"""JSON lines: every value as the string that was written."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lasttoken.data.examples import has_lone_surrogate
from lasttoken.data.rows import Record, Row
from lasttoken.errors import DatasetError


def jsonl_records(name: str, lines: Iterator[str]) -> Iterator[Record]:
    """Yield the object of every line that is not blank, or what is wrong with the line."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _json_row(name, number, line)


def _json_row(name: str, number: int, line: str) -> Row | DatasetError:
    try:
        # Numbers keep their spelling: "01", 1.0 and 1 are three labels.
        values = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        return DatasetError(
            f"{name}: line {number:,} is broken JSON: {error}",
            expected='one JSON object a line: {"text": "...", "label": "..."}',
            remedy="mend the line, or give --skip-bad-rows",
        )
    if not isinstance(values, dict):
        return DatasetError(
            f"{name}: line {number:,} is a JSON {type(values).__name__}, not an object",
            expected='one JSON object a line: {"text": "...", "label": "..."}',
            remedy="jq -c '.[]' FILE > FILE.jsonl turns a JSON list into lines",
        )
    if any(isinstance(value, dict | list) for value in values.values()):
        plain = json.loads(line)  # nested values keep their numbers as numbers
        values = {
            key: json.dumps(plain[key], ensure_ascii=False)
            if isinstance(value, dict | list)
            else value
            for key, value in values.items()
        }
    row = {key: _json_string(value) for key, value in values.items()}
    if "\\u" in line:
        for key, value in row.items():
            if has_lone_surrogate(key) or has_lone_surrogate(value or ""):
                return DatasetError(
                    f"{name}: line {number:,}, column {key!a}: half a surrogate pair (\\ud8..)",
                    expected="text that can be written as UTF-8",
                    remedy="mend the line, or give --skip-bad-rows",
                )
    return row


def _json_string(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
