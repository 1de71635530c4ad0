"""What a run is about to do: its settings as parts, and its plan in words."""

from __future__ import annotations

from lasttoken.config import TrainConfig
from lasttoken.config.tasks import split_names
from lasttoken.estimator import TextClassifier
from lasttoken.events import EventCallback, Note
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.runs.examples import describe_lengths
from lasttoken.runs.record import CHECKPOINTS_NAME, run_folder
from lasttoken.training.batches import num_steps_per_epoch
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.saver import CheckpointSettings


def checkpoint_settings(config: TrainConfig) -> CheckpointSettings | None:
    """Return where and how often a run saves; None if it does not."""
    if config.checkpoint_minutes == 0:
        return None
    return CheckpointSettings(
        run_folder(config) / CHECKPOINTS_NAME,
        every_minutes=config.checkpoint_minutes,
        every_steps=config.checkpoint_steps,
    )


def make_classifier(config: TrainConfig) -> TextClassifier:
    """Return the classifier of a run's settings, not fitted yet."""
    return TextClassifier(
        config.model,
        task=config.task,
        label_separator=config.label_separator,
        label_order=split_names(config.label_order) or None,
        num_epochs=config.num_epochs,
        batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_fraction=config.warmup_fraction,
        max_grad_norm=config.max_grad_norm,
        early_stopping_patience=config.early_stopping_patience,
        trainable=config.trainable,
        lora_rank=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        class_weights=config.class_weights,
        focal_gamma=config.focal_gamma,
        sampling=config.sampling,
        layer_decay=config.layer_decay,
        gradient_checkpointing=config.gradient_checkpointing,
        depth=config.depth,
        max_length=config.max_length,
        template=config.template,
        long=config.long,
        window_overlap=config.window_overlap,
        fix_text=config.fix_text,
        seed=config.seed,
        precision=config.precision,
        device=config.device,
    )


def tell_plan(
    prepared: PreparedTraining, test_texts: TokenizedTexts, on_event: EventCallback
) -> None:
    """Tell what is about to happen: lengths, cuts, steps, precision."""
    for name, texts in (
        ("train", prepared.training.texts),
        ("validation", prepared.validating.texts),
        ("test", test_texts),
    ):
        on_event(Note(describe_lengths(name, texts), is_warning=bool(texts.truncated.any())))
    settings = prepared.settings
    epochs = "epoch" if settings.num_epochs == 1 else "epochs"
    steps = num_steps_per_epoch(len(prepared.training), settings) * settings.num_epochs
    work = (
        f"{steps:,} steps in {settings.num_epochs} {epochs}, batches of {settings.batch_size}, "
        f"learning rate {settings.peak_rate:g}"
    )
    if settings.learns.kind == "probe":
        work = "no steps: one pass, then a head is fitted"
    on_event(
        Note(
            f"{work}; read {prepared.loaded.classifier.proof.path}, {settings.precision} on "
            f"{settings.device}, seed {settings.seed}"
        )
    )
