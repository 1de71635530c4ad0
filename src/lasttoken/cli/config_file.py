"""The TOML file of `--config`: settings by name, as a command's flags would give them."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from pathlib import Path
from typing import Any

from lasttoken.errors import ConfigError


def read_config_file(path: str, config_class: type) -> dict[str, Any]:
    """Read settings from a TOML file for `--config`; keys may use dashes or underscores.

    Raises:
        ConfigError: the file is missing or no TOML, or a key is no setting of `config_class`.
    """
    try:
        with Path(path).open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigError(
            f"--config {path}: {error.strerror or error}",
            expected="a readable TOML file",
            remedy="check the path given to --config",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--config {path}: {error}",
            expected="TOML, such as: num_epochs = 2",
            remedy="mend the line named above",
        ) from error
    known = {field.name for field in dataclasses.fields(config_class)}
    settings = {key.replace("-", "_"): value for key, value in content.items()}
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"--config {path}: unknown setting {key!r}",
                expected="one of " + ", ".join(sorted(known)),
                remedy=f"did you mean {near[0]!r}?" if near else "remove it",
            )
    return settings
