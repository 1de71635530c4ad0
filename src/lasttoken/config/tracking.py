"""Settings of the experiment tracker."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import Doc

Tracker = Annotated[
    str | None,
    Doc("send settings and scores to a tracker: tensorboard, wandb, mlflow, trackio ... [none]"),
]
