"""The options that every program has."""

from __future__ import annotations

import argparse


def quick_option(about: str | None) -> bool:
    """Return whether --quick was given; --help shows what the program is about."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few and short repeats")
    return bool(parser.parse_args().quick)
