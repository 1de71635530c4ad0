"""One of n parts of a prediction, and what is written down about it.

labels-2.csv               rows of part 2
labels-2.csv.shard.json    which rows they are, of which files, and what answered them
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lasttoken.config import PredictConfig
from lasttoken.config.prediction import parse_shard
from lasttoken.data.inputs import Shard, find_shard
from lasttoken.durable import replace_lone_file
from lasttoken.errors import RunError
from lasttoken.events import EventCallback, Note
from lasttoken.versions import package_versions

_SCHEMA_VERSION = 1


def open_shard(config: PredictConfig, on_event: EventCallback) -> Shard | None:
    """Find the rows of the part that was asked for, and tell them; None if all rows were.

    Raises:
        LastTokenError: an input cannot be read, or comes by a pipe.
    """
    part = parse_shard(config.shard)
    if part is None:
        return None
    shard = find_shard(config.input, *part, format=config.format, encoding=config.encoding)
    name = f"shard {shard.number}/{shard.of}"
    if shard.start == shard.stop:
        rows = "is 1 row" if shard.num_rows == 1 else f"are {shard.num_rows:,} rows"
        text = f"{name}: no row; there {rows} for {shard.of:,} parts"
        on_event(Note(text, is_warning=True))
    else:
        rows = f"rows {shard.start + 1:,} to {shard.stop:,} of {shard.num_rows:,}"
        on_event(Note(f"{name}: {rows}"))
    return shard


class ShardRecord:
    """The file beside the output that says which part it is.

    Args:
        config: of the prediction.
        shard: the part; None writes nothing.
        context: what decides answers beside the texts.

    Raises:
        RunError: there is another file of this name, and the config says not to overwrite.
    """

    def __init__(self, config: PredictConfig, shard: Shard | None, context: dict[str, str]) -> None:
        self._path = None
        if shard is None or config.output is None:
            return
        output = Path(config.output).expanduser()
        path = self._path = output.with_name(f"{output.name}.shard.json")
        content = _content(config, shard, context)
        self._content = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
        # An attempt that was interrupted at its very end leaves the same content.
        is_other = path.exists() and not (path.is_file() and path.read_bytes() == self._content)
        if is_other and not config.overwrite:
            raise RunError(
                f"{path}: exists already",
                expected=f"no record of another part beside {config.output}",
                remedy="--overwrite, or another name",
            )

    def write(self) -> None:
        """Write the record.

        Raises:
            RunError: it cannot be written.
        """
        if self._path is not None:
            replace_lone_file(self._path, self._content)


def _content(config: PredictConfig, shard: Shard, context: dict[str, str]) -> dict[str, Any]:
    return {
        "schema_version": _SCHEMA_VERSION,
        "shard": f"{shard.number}/{shard.of}",
        "first_row": shard.start + 1,
        "last_row": shard.stop,
        "num_rows": shard.num_rows,
        "inputs": [
            {"path": path, "num_rows": num_rows}
            for path, num_rows in zip(config.input, shard.rows, strict=True)
        ],
        "run": config.run,
        "answered_by": context,
        "versions": package_versions(),
    }
