"""How single optimizations are turned off, for `switches.py` alone.

Each function replaces one thing inside lasttoken by its plain form, in a worker that measures the
plain form. Nothing else in the project may do so.
"""

from __future__ import annotations


def sdpa_for_all() -> None:
    """Attention: the fused kernel at every length, not plain matrix products for short texts."""
    from lasttoken.model import attention

    attention.LONGEST_MATMUL_ROW = 0
