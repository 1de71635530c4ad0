"""What a search may try: a range for each setting, where it begins, and what a trial costs."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from lasttoken.data.written import LabelKind
from lasttoken.errors import ConfigError
from lasttoken.settings import (
    LORA_DEFAULTS,
    STEPS_DEFAULTS,
    parse_depth,
    parse_trainable,
)
from lasttoken.training.preparation import FITTED_KINDS

Settings = Mapping[str, Any]
Names = tuple[str, ...]

# Where fine-tuning of decoders is usually best; the range grows to hold the setting given.
_LEARNING_RATES = (1e-5, 1e-3)
_EPOCHS = (1, 6)
_BATCH_SIZES = (8, 16, 32, 64)
_WARMUP_FRACTIONS = (0.0, 0.06, 0.1)  # 0.06: RoBERTa's, 0.1: BERT's (Devlin et al. 2019)
_LAYER_DECAYS = (1.0, 0.95, 0.9, 0.8)
_SHARES_OF_DEPTH = (1 / 2, 2 / 3, 5 / 6)
_SHARES_THAT_LEARN = (1 / 6, 1 / 3)

# A head on the best frozen block: it costs one pass, and is hard to beat where examples are few.
_FROZEN = {"trainable": "probe", "depth": "auto"}

# A pass that computes gradients costs as much as three that do not.
_PASSES_OF_A_STEP = 3


@dataclass(frozen=True)
class Extents:
    """How large model and data are.

    Attributes:
        num_blocks: of the model.
        num_examples: that are trained on.
        num_tokens: of these.
        num_validation_tokens: of the examples that choose the epoch.
        kind: of the task.
    """

    num_blocks: int
    num_examples: int
    num_tokens: int
    num_validation_tokens: int
    kind: LabelKind = "single_label"


@dataclass(frozen=True)
class Space:
    """The settings that a search changes.

    Attributes:
        settings: all settings of training as the user gave them, or their defaults.
        ranges: name of a setting to what may be tried; the value given lies in it.
        extents: of model and data.
    """

    settings: Settings
    ranges: Mapping[str, BaseDistribution]
    extents: Extents

    @property
    def given(self) -> dict[str, Any]:
        """Return what changes as it was given: the first trial."""
        return {name: self.settings[name] for name in self.ranges}

    def first(self) -> list[dict[str, Any]]:
        """Return what is tried first: the settings given, then a head on frozen states."""
        frozen = {name: value for name, value in _FROZEN.items() if name in self.ranges}
        is_tried = "trainable" in frozen and self._holds(frozen)
        second = [{**self.given, **frozen}] if is_tried else []
        return [self.effective(settings) for settings in [self.given, *second]]

    def _holds(self, settings: Settings) -> bool:
        """Return whether each of these values is among those that may be tried."""
        ranges = {name: self.ranges[name] for name in settings}
        return all(settings[name] in getattr(ranges[name], "choices", ()) for name in settings)

    def effective(self, proposed: Settings) -> dict[str, Any]:
        """Return what a proposal comes to: without a difference that would change nothing."""
        whole = {**self.settings, **proposed}
        learns, kept = parse_trainable(whole["trainable"]), parse_depth(whole["depth"])
        if learns.kind == "probe":  # no steps, so nothing that is about steps
            steps = {name: v for name, v in STEPS_DEFAULTS.items() if name in proposed}
            return {**self.given, **steps, **{k: v for k, v in proposed.items() if k in _FROZEN}}
        if learns.num_blocks is not None and isinstance(kept, int) and learns.num_blocks > kept:
            key = "trainable" if "trainable" in proposed else "depth"
            mended = {"trainable": f"last-{kept}", "depth": str(learns.num_blocks)}
            return {**proposed, key: mended[key]}
        return dict(proposed)

    def kind(self, proposed: Settings) -> str:
        """Return which part of the model learns: trials of one kind have a rate in common."""
        return parse_trainable({**self.settings, **proposed}["trainable"]).kind

    def num_epochs(self, proposed: Settings) -> int:
        """Return how many epochs a trial tells of; a fitted head is one."""
        return 1 if self.kind(proposed) == "probe" else {**self.settings, **proposed}["num_epochs"]

    def work(self, proposed: Settings) -> float:
        """Return what a trial costs, in token-blocks: tokens through one block, without gradient.

        An upper bound where the depth is chosen by the trial itself.
        """
        whole, sizes = {**self.settings, **proposed}, self.extents
        learns, keeps = parse_trainable(whole["trainable"]), parse_depth(whole["depth"])
        kept = keeps if isinstance(keeps, int) else sizes.num_blocks
        a_pass = sizes.num_tokens + sizes.num_validation_tokens
        looking = a_pass * sizes.num_blocks if keeps == "auto" or learns.kind == "probe" else 0
        if learns.kind == "probe":
            return float(looking)
        trained = learns.num_blocks or kept
        an_epoch = sizes.num_tokens * _PASSES_OF_A_STEP + sizes.num_validation_tokens
        frozen = a_pass * (kept - trained)
        return float(looking + frozen + whole["num_epochs"] * an_epoch * trained)


def make_space(settings: Settings, extents: Extents, search: str | None) -> Space:
    """Return the space around some settings.

    Args:
        settings: all settings of training, by name.
        extents: of model and data.
        search: names of the settings that change, separated by commas; None is all of `SEARCHED`.

    Raises:
        ConfigError: `search` names what cannot be searched.
    """
    names = tuple(SEARCHED) if search is None else _names(search)
    ranges = {name: SEARCHED[name](settings, extents, names) for name in names}
    return Space(settings, ranges, extents)


def _names(search: str) -> tuple[str, ...]:
    names = tuple(part.strip().replace("-", "_") for part in search.split(",") if part.strip())
    unknown = next((name for name in names if name not in SEARCHED), None)
    if names and unknown is None:
        return tuple(dict.fromkeys(names))
    near = difflib.get_close_matches(str(unknown), SEARCHED, n=1)
    raise ConfigError(
        f"--search {search}: " + (f"cannot search {unknown!r}" if names else "names no setting"),
        expected="some of " + ", ".join(SEARCHED),
        remedy=f"did you mean {near[0]!r}?" if near else "leave --search out to search them all",
    )


def _learning_rate(settings: Settings, *_: object) -> BaseDistribution:
    given = settings["learning_rate"]
    low, high = _LEARNING_RATES
    return FloatDistribution(min(low, given), max(high, given), log=True)


def _num_epochs(settings: Settings, *_: object) -> BaseDistribution:
    given = settings["num_epochs"]
    low, high = _EPOCHS
    return IntDistribution(min(low, given), max(high, given))


def _batch_size(settings: Settings, extents: Extents, *_: object) -> BaseDistribution:
    fitting = [size for size in _BATCH_SIZES if 2 * size <= extents.num_examples]
    return CategoricalDistribution(sorted({*fitting, settings["batch_size"]}))


def _warmup_fraction(settings: Settings, *_: object) -> BaseDistribution:
    return CategoricalDistribution(sorted({*_WARMUP_FRACTIONS, settings["warmup_fraction"]}))


def _layer_decay(settings: Settings, *_: object) -> BaseDistribution:
    return CategoricalDistribution(sorted({*_LAYER_DECAYS, settings["layer_decay"]}))


def _depth(settings: Settings, extents: Extents, *_: object) -> BaseDistribution:
    auto = ["auto"] * (extents.kind in FITTED_KINDS)
    numbers = [str(number) for number in _shares(_SHARES_OF_DEPTH, extents)]
    return _choices("all", *auto, *numbers, settings["depth"])


def _class_weights(settings: Settings, extents: Extents, *_: object) -> BaseDistribution:
    given = settings["class_weights"]
    if extents.kind == "regression" or settings["sampling"] == "balanced":
        return _choices(given)
    return _choices("none", "balanced", given)


def _trainable(settings: Settings, extents: Extents, names: Names) -> BaseDistribution:
    """Return ways to train with which no setting that stays is at odds; see `check_learning`."""
    given = settings["trainable"]
    stays = {name: value for name, value in settings.items() if name not in names}
    if any(stays.get(name, default) != default for name, default in LORA_DEFAULTS.items()):
        return _choices(given)
    has_steps = any(stays.get(name, value) != value for name, value in STEPS_DEFAULTS.items())
    probe = ["probe"] * (extents.kind in FITTED_KINDS and not has_steps)
    last = [f"last-{number}" for number in _shares(_SHARES_THAT_LEARN, extents)]
    return _choices("full", *last, "lora", *probe, given)


def _choices(*values: str | None) -> BaseDistribution:
    return CategoricalDistribution(tuple(dict.fromkeys(values)))


def _shares(shares: tuple[float, ...], extents: Extents) -> list[int]:
    numbers = {max(1, round(share * extents.num_blocks)) for share in shares}
    return sorted(number for number in numbers if number < extents.num_blocks)


# The settings that are searched, in the order in which they are told.
SEARCHED: Mapping[str, Callable[[Settings, Extents, Names], BaseDistribution]] = {
    "learning_rate": _learning_rate,
    "num_epochs": _num_epochs,
    "batch_size": _batch_size,
    "depth": _depth,
    "trainable": _trainable,
    "warmup_fraction": _warmup_fraction,
    "layer_decay": _layer_decay,
    "class_weights": _class_weights,
}
