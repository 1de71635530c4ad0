"""George Mihaila's tutorial "GPT2 For Text Classification using Hugging Face Transformers".

Its flow and its constants, with the parts of lasttoken. As there, the test folder is scored after
every epoch; `lasttoken train` keeps it for the end instead.

    python examples/tutorial.py aclImdb --model gpt2 --output tutorial-results

The folder holds train/pos, train/neg, test/pos and test/neg with a .txt file a review.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from sklearn.metrics import classification_report, confusion_matrix
from torch.utils.data import DataLoader, Subset
from transformers import get_linear_schedule_with_warmup

from lasttoken import Gpt2ClassificationCollator, MovieReviewsDataset, load_model, train, validation
from lasttoken.evaluation.report.figures import confusion_matrix as draw_confusion_matrix
from lasttoken.evaluation.report.figures import learning_curves
from lasttoken.evaluation.report.plots import write_figures

SEED = 123
BATCH_SIZE = 32
MAX_LENGTH = 60  # tokens; longer reviews are cut
LABEL_IDS = {"neg": 0, "pos": 1}


def load_reviews(folder: Path) -> Subset[dict[str, str]]:
    """Return the labeled reviews below a folder; train/unsup of aclImdb has no labels."""
    reviews = MovieReviewsDataset(folder)
    return Subset(reviews, [i for i, label in enumerate(reviews.labels) if label in LABEL_IDS])


def main(argv: Sequence[str] | None = None) -> list[dict[str, float]]:
    """Train, print, draw; returns the numbers of every epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="train/pos/*.txt, test/neg/*.txt ...")
    parser.add_argument("--model", default="gpt2", help="Hub id, local folder, .gguf or smollm2")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--layout", choices=["left", "packed"], default="left")
    parser.add_argument("--output", type=Path, default=Path("tutorial-results"))
    args = parser.parse_args(argv)

    torch.manual_seed(SEED)  # the order of the examples
    model, tokenizer = load_model(args.model, LABEL_IDS, seed=SEED)
    device = next(model.parameters()).device
    names = model.labels.labels  # neg, pos; a model that knows these labels keeps its own order
    collator = Gpt2ClassificationCollator(tokenizer, model.labels, MAX_LENGTH, layout=args.layout)
    training = DataLoader(
        load_reviews(args.folder / "train"), BATCH_SIZE, shuffle=True, collate_fn=collator
    )
    testing = DataLoader(load_reviews(args.folder / "test"), BATCH_SIZE, collate_fn=collator)

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.learning_rate, eps=1e-8, weight_decay=0.0
    )
    scheduler = get_linear_schedule_with_warmup(
        optimizer, num_warmup_steps=0, num_training_steps=len(training) * args.epochs
    )
    history = []
    for epoch in range(args.epochs):
        trained = train(
            model, training, optimizer, scheduler, device,
            max_grad_norm=1.0, seed=SEED, epoch=epoch,
        )  # fmt: skip
        scored = validation(model, testing, device)
        history.append({
            "epoch": epoch + 1,
            "train_loss": trained.loss, "train_accuracy": trained.accuracy,
            "validation_loss": scored.loss, "validation_accuracy": scored.accuracy,
        })  # fmt: skip
        print("  ".join(f"{name} {value:.4g}" for name, value in history[-1].items()))

    true_labels, predicted_labels, _ = validation(model, testing, device)
    print(classification_report(true_labels, predicted_labels, target_names=names))
    matrix = confusion_matrix(true_labels, predicted_labels)
    print(matrix)
    drawings = {
        "loss": partial(learning_curves, history, "loss", "Loss", None),
        "accuracy": partial(learning_curves, history, "accuracy", "Accuracy", None),
        "confusion_matrix": partial(draw_confusion_matrix, names, matrix.tolist()),
    }
    write_figures(args.output, drawings)
    print(f"curves and confusion matrix: {args.output}")
    return history


if __name__ == "__main__":
    main()
