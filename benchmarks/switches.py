"""What does each optimization pay?

    python -m benchmarks.switches [--quick]

The same work with and without it, in turn. An optimization is turned off by a function of
`switch_off.py`, called in the worker before the model is loaded; one that pays less than 2 % goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.driver import Contender, compare
from benchmarks.measure import REPEATS, SMOKE, Results, ratio_figure, seconds_per_token
from benchmarks.models import gpt2_folder, texts_file
from benchmarks.options import quick_option


@dataclass(frozen=True)
class Switch:
    """One optimization.

    Attributes:
        name: as shown.
        off: function in `switch_off.py` that turns it off.
        task: "train", "predict" or "predict_single".
        precision: of both sides.
        batch_size: of training.
        mix: of texts.
        dropout: of the model.
        copies: of every text, for prediction.
    """

    name: str
    off: str
    task: str
    precision: str = "bf16"
    batch_size: int = 32
    mix: str = "short"
    dropout: float = 0.0
    copies: int = 1


SWITCHES: tuple[Switch, ...] = (
    Switch("plain attention for short texts, training", "sdpa_for_all", "train"),
    Switch("plain attention for short texts, prediction", "sdpa_for_all", "predict"),
    Switch("fused attention above 16 tokens, prediction", "matmul_in_prediction", "predict"),
    Switch(
        "fused attention above 16 tokens, prediction, 120 tokens",
        *("matmul_in_prediction", "predict"),
        mix="medium",
    ),
    Switch("fused attention above 16 tokens, one text", "matmul_in_prediction", "predict_single"),
    Switch("no gathering for a text alone", "gathered_lone_texts", "predict_single"),
    Switch("GPT-2's blocks in fewer calls, one text", "own_blocks", "predict_single"),
    Switch("last block for the last tokens, training", "whole_last_block", "train"),
    Switch("last block for the last tokens, prediction", "whole_last_block", "predict"),
    Switch("embeddings of tokens that occur, batch 32", "whole_embedding", "train"),
    Switch("embeddings of tokens that occur, batch 8", "whole_embedding", "train", batch_size=8),
    Switch("bf16 products in parts, training", "whole_bf16_products", "train"),
    Switch("clipping inside the step, batch 32", "separate_clipping", "train"),
    Switch("clipping inside the step, batch 8", "separate_clipping", "train", batch_size=8),
    Switch("fused GELU, training", "python_gelu", "train"),
    Switch("cheaper random numbers for dropout", "torch_dropout", "train", dropout=0.1),
    Switch("freed memory is kept, training", "returned_memory", "train"),
    Switch("freed memory is kept, prediction", "returned_memory", "predict"),
    Switch("fed kernels, prediction", "plain_products", "predict"),
    Switch("fed kernels, prediction in fp32", "plain_products", "predict", precision="fp32"),
    Switch("activation inside the product", "separate_activations", "predict"),
    Switch("equal texts once, where each stands twice", "every_copy", "predict", copies=2),
)


def main() -> None:
    """Measure every switch."""
    quick = quick_option(__doc__)
    results = Results("switches", quick=quick)
    for switch in SWITCHES:
        if results.has(switch.name):
            continue
        job: dict[str, Any] = {
            "model": str(gpt2_folder(switch.dropout)),
            "texts": str(texts_file(switch.mix)),
            "precision": switch.precision,
            "batch_size": switch.batch_size,
            "num_texts": 16 if SMOKE else 128 if quick else 512,
            "copies": switch.copies,
        }
        entry = f"benchmarks.ours:{switch.task}"
        pair = [
            Contender("with", entry, switch.precision, job),
            Contender("without", entry, switch.precision, {**job, "switch_off": switch.off}),
        ]
        steps = {"predict": 1, "predict_single": 50}.get(switch.task, 4 if quick else 15)
        print(switch.name, flush=True)
        measured, failed = compare(pair, steps=steps, repeats=REPEATS)
        figures: dict[str, Any] = {switch.name: {"skipped": "; ".join(failed.values())}}
        if not failed:
            figures[switch.name] = ratio_figure(
                seconds_per_token(measured["without"].segments),
                seconds_per_token(measured["with"].segments),
                our_class=switch.precision,
                peer_class=switch.precision,
            )
        details = {name: found.record() for name, found in measured.items()}
        results.add(switch.name, {"contenders": details, "failed": failed}, figures)
    results.save()


if __name__ == "__main__":
    main()
