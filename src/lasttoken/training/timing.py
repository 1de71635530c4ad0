"""An honest estimate of the time left, measured on the run's own first steps."""

from __future__ import annotations

import time

from lasttoken.events import Event, EventCallback, Progress, TimeLeft

MEASURED_STEPS = 20
_WARMUP_STEPS = 3  # the first steps fill caches and allocate memory

# Cost of a token in a gradient-free pass, in training tokens: one matrix product instead of three,
# and no optimizer step. Measured: 0.275 (docs/log.md, 2026-11-23).
FORWARD_SHARE = 0.28


class TimeEstimator:
    """Pass events on; after `MEASURED_STEPS` steps, add one `TimeLeft`.

    Time goes with tokens, so what is left is counted in tokens: of training, and of the gradient-
    free passes over validation and test texts at `FORWARD_SHARE` of the price. What lies between
    the measured steps is measured with them, so short epochs bring their validation in.

    Args:
        train_tokens: of one epoch.
        num_epochs: to train.
        forward_tokens: of all gradient-free passes to come, validation after each epoch included.
        steps_per_epoch: optimizer steps.
        steps_taken: in an earlier part of the run.
        on_event: gets every event, and the estimate.
    """

    def __init__(
        self,
        *,
        train_tokens: int,
        num_epochs: int,
        forward_tokens: int,
        steps_per_epoch: int,
        steps_taken: int = 0,
        on_event: EventCallback,
    ) -> None:
        self.estimated_seconds: float | None = None
        self.seconds_at_estimate: float | None = None
        self._tokens_per_step = train_tokens / steps_per_epoch
        self._train_tokens_left = train_tokens * num_epochs - steps_taken * self._tokens_per_step
        self._forward_tokens_left = forward_tokens
        self._on_event = on_event
        self._started = self._measured_from = time.perf_counter()
        self._tokens_at_start = self._tokens_left
        self._steps = 0

    def __call__(self, event: Event) -> None:
        """Take an event, pass it on, and measure training steps."""
        self._on_event(event)
        if isinstance(event, Progress) and event.phase == "train":
            self._steps += 1
            self._train_tokens_left -= self._tokens_per_step
            if self._steps == _WARMUP_STEPS:
                self._measured_from = time.perf_counter()
                self._tokens_at_start = self._tokens_left
            elif self._steps == _WARMUP_STEPS + MEASURED_STEPS:
                self._estimate(time.perf_counter())

    def finish_validation(self, num_tokens: int) -> None:
        """Count off the tokens of a validation pass."""
        self._forward_tokens_left -= num_tokens

    @property
    def _tokens_left(self) -> float:
        return self._train_tokens_left + self._forward_tokens_left * FORWARD_SHARE

    def _estimate(self, now: float) -> None:
        tokens_measured = self._tokens_at_start - self._tokens_left
        seconds_per_token = (now - self._measured_from) / tokens_measured
        self.estimated_seconds = self._tokens_left * seconds_per_token
        self.seconds_at_estimate = now - self._started
        self._on_event(TimeLeft(self.estimated_seconds, MEASURED_STEPS))
