"""The loop of the tutorial that this project grew out of, with its settings, on stock classes.

Batches are drawn at random, tokenized as they come, padded on the left to the longest text and cut
at 60 tokens; fp32; torch's AdamW as constructed by default; linear decay; gradients clipped at 1.
"""

from __future__ import annotations

from typing import Any

from benchmarks.gate import Gate
from benchmarks.models import read_texts
from benchmarks.peers import torch_threads

MAX_LENGTH = 60


def train(gate: Gate, job: dict[str, Any]) -> None:
    """Train, a gate after every step."""
    import torch
    from torch.utils.data import DataLoader
    from transformers import (
        AutoTokenizer,
        GPT2Config,
        GPT2ForSequenceClassification,
        get_linear_schedule_with_warmup,
    )

    torch_threads.prepare(job)
    part = read_texts(job["texts"])["train"]
    label_ids = {label: place for place, label in enumerate(sorted(set(part["labels"])))}
    examples = list(zip(part["texts"], part["labels"], strict=True)) * job.get("copies", 1)

    config = GPT2Config.from_pretrained(job["model"], num_labels=len(label_ids))
    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    model = GPT2ForSequenceClassification.from_pretrained(job["model"], config=config)

    def collate(batch: list[tuple[str, str]]) -> dict[str, Any]:
        texts, labels = zip(*batch, strict=True)
        inputs = tokenizer(
            text=list(texts),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=MAX_LENGTH,
        )
        inputs["labels"] = torch.tensor([label_ids[label] for label in labels])
        return inputs

    loader = DataLoader(examples, batch_size=job["batch_size"], shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, eps=1e-8)
    num_epochs = 4
    scheduler = get_linear_schedule_with_warmup(
        optimizer, num_warmup_steps=0, num_training_steps=len(loader) * num_epochs
    )
    gate.begin()
    for _ in range(num_epochs):
        predicted, true, total_loss = [], [], 0.0
        model.train()
        for batch in loader:
            true += batch["labels"].numpy().flatten().tolist()
            model.zero_grad()
            output = model(**batch)
            total_loss += output.loss.item()
            output.loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            predicted += output.logits.detach().numpy().argmax(axis=-1).tolist()
            mask = batch["attention_mask"]
            gate.step(mask.sum(dim=1).tolist(), mask.numel())
