"""How much memory does training take, beside the tuned Trainer?

    python -m benchmarks.memory [--quick]

GPT-2 124M, batch 32, bf16: whole short trainings, each in a fresh process; peak resident memory of
the process, loading included.
"""

from __future__ import annotations

from typing import Any

from benchmarks.driver import Contender, WorkerError, run_to_end
from benchmarks.measure import REPEATS, Results, figure
from benchmarks.models import gpt2_folder, read_texts, subset_file, texts_file
from benchmarks.options import quick_option


def main() -> None:
    """Measure pairs of processes in turn."""
    quick = quick_option(__doc__)
    results = Results("memory", quick=quick)
    num_texts = 96 if quick else 512
    part = read_texts(texts_file("short"))["train"]
    # The longest texts are among them: they decide the peak of whoever pads.
    places = sorted(range(len(part["texts"])), key=lambda i: -part["num_tokens"][i])[:8]
    places += [i for i in range(num_texts) if i not in places][: num_texts - len(places)]
    columns = ([part[key][i] for i in places] for key in ("texts", "labels", "num_tokens"))
    job: dict[str, Any] = {
        "model": str(gpt2_folder(0.0)),
        "texts": str(subset_file("memory", *columns)),
        "batch_size": 32,
        "precision": "bf16",
        "predict": False,
    }
    ours = Contender("lasttoken bf16", "benchmarks.ours:fit", "bf16", job)
    peer = Contender(
        "Trainer tuned bf16", "benchmarks.peers.trainer:fit", "bf16", {**job, "style": "tuned"}
    )
    reports: dict[str, list[dict[str, Any]]] = {ours.name: [], peer.name: []}
    try:
        for _ in range(min(REPEATS, 2) if quick else REPEATS):
            for contender in (ours, peer):
                reports[contender.name].append(run_to_end(contender))
    except WorkerError as error:
        results.add("peak", {"failed": str(error)}, {})
        results.save()
        return
    peaks = {name: [run["peak_bytes"] for run in runs] for name, runs in reports.items()}
    shares = [mine / theirs for mine, theirs in zip(*peaks.values(), strict=True)]
    figures = {
        "memory_vs_tuned": figure(shares, unit="x", our_class="bf16", peer_class="bf16"),
        **{
            f"{name} / peak GB": figure([value / 1e9 for value in values], unit=" GB")
            for name, values in peaks.items()
        },
    }
    results.add("peak", reports, figures)
    results.save()


if __name__ == "__main__":
    main()
