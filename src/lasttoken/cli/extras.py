"""Commands that stand on packages which a plain installation leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from lasttoken.errors import ConfigError


def require_extra(extra: str, modules: Sequence[str]) -> None:
    """Check that an extra is installed, without importing anything of it.

    Raises:
        ConfigError: a module of it is not there.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: not installed",
            expected=f"the extra {extra!r}",
            remedy=f"pip install 'lasttoken[{extra}]'",
        )
