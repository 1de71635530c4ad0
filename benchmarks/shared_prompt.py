"""What does a template cost whose words stand before every text, if they are computed once?

    python -m benchmarks.shared_prompt [--quick]

The same 40-token instruction before every review: given as `template=`, or pasted before each text.
"""

from __future__ import annotations

from benchmarks.driver import Contender, compare
from benchmarks.measure import REPEATS, SMOKE, Results, figure, ratio_figure
from benchmarks.models import gpt2_folder, read_texts, subset_file, texts_file
from benchmarks.options import quick_option

PROMPT = (
    "Below is one sentence of a film review. Read all of it, mind irony and faint praise, and "
    "decide whether its writer would tell a friend to go and see the film or not. The sentence "
    "is: "
)


def main() -> None:
    """Measure both."""
    quick = quick_option(__doc__)
    results = Results("shared_prompt", quick=quick)
    part = read_texts(texts_file("short"))["test"]
    num_texts = 16 if SMOKE else 128 if quick else 512
    texts, counts = part["texts"][:num_texts], part["num_tokens"][:num_texts]
    # Real tokens are those of the reviews in both: what is measured is time for the same answers.
    pasted = subset_file(
        "prompted", [PROMPT + t for t in texts], part["labels"][:num_texts], counts
    )
    job = {"model": str(gpt2_folder(0.0)), "num_texts": num_texts, "precision": "bf16"}
    entry = "benchmarks.ours:predict"
    everyone = [
        Contender(
            "shared",
            "benchmarks.ours:predict_in_template",
            "bf16",
            {**job, "texts": str(texts_file("short")), "template": PROMPT + "{text}"},
        ),
        Contender("pasted", entry, "bf16", {**job, "texts": str(pasted)}),
        Contender("without prompt", entry, "bf16", {**job, "texts": str(texts_file("short"))}),
    ]
    measured, failed = compare(everyone, steps=1, repeats=REPEATS)
    seconds = {name: [s["seconds"] for s in found.segments] for name, found in measured.items()}
    figures = {f"{name} / seconds": figure(values) for name, values in seconds.items()}
    if "shared" in seconds:
        figures["shared_prompt"] = ratio_figure(
            seconds["pasted"], seconds["shared"], our_class="bf16", peer_class="bf16"
        )
    else:
        figures["shared_prompt"] = {"skipped": failed["shared"].rpartition("Error: ")[2]}
    details = {name: found.record() for name, found in measured.items()}
    results.add("prompt", {"contenders": details, "failed": failed, "prompt": PROMPT}, figures)
    results.save()


if __name__ == "__main__":
    main()
