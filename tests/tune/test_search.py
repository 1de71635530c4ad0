"""The search: what it tries, in which order, within which time, and after a death at any moment.

Trials here train nothing: a toy gives each setting a score, and time is a clock that it moves.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lasttoken.cli.results import trial_text
from lasttoken.config import TrainConfig
from lasttoken.data.written import LabelKind
from lasttoken.errors import ConfigError, RunError
from lasttoken.events import EpochEnd, Event, EventCallback, Note, Progress, TrialBegin, TrialEnd
from lasttoken.settings import LORA_DEFAULTS, STEPS_DEFAULTS
from lasttoken.tune import search as search_module
from lasttoken.tune.search import Search
from lasttoken.tune.space import SEARCHED, Extents, Space, make_space

EXTENTS = Extents(num_blocks=12, num_examples=1000, num_tokens=1000, num_validation_tokens=100)
SETTLED = {"num_epochs": 3, "batch_size": 32, "learning_rate": 5e-5, "depth": "all"}
SETTINGS = {name: getattr(TrainConfig(data="x", **SETTLED), name)
            for name in (*SEARCHED, *LORA_DEFAULTS, *STEPS_DEFAULTS)}  # fmt: skip
GIVEN = {name: SETTINGS[name] for name in SEARCHED}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(search_module, "time", clock)
    return clock


def epoch_end(epoch: int, score: float) -> EpochEnd:
    return EpochEnd(
        epoch=epoch, step=epoch, train_loss=1.0, train_accuracy=0.5, validation_loss=1.0,
        validation_accuracy=score, validation_macro_f1=score, learning_rate=1e-4, seconds=1.0,
        is_kept=False,
    )  # fmt: skip


class Toy:
    """Trials whose score is a function of their settings; an epoch takes a second."""

    def __init__(
        self,
        clock: Clock,
        space: Space,
        *,
        score: Callable[[dict[str, Any], int], float] | None = None,
        most_trials: int | None = None,
    ) -> None:
        self.clock, self.space = clock, space
        self.score = score or bump
        self.most_trials = most_trials
        self.begun: list[float] = []

    def __call__(self, settings: dict[str, Any], judge: EventCallback) -> None:
        if len(self.begun) == self.most_trials:
            raise Enough
        self.begun.append(self.clock.now)
        for epoch in range(1, self.space.num_epochs(settings) + 1):
            self.clock.now += 1
            judge(Progress("train", epoch, None, "steps"))
            judge(epoch_end(epoch, self.score(settings, epoch)))


class Enough(Exception):  # noqa: N818
    """The test has seen enough trials."""


def bump(settings: dict[str, Any], epoch: int) -> float:
    """Best at a learning rate of 1e-4, a depth of 8 and ever more epochs."""
    far = abs(math.log10(settings.get("learning_rate", 1e-4)) + 4)
    depth = settings.get("depth")
    lost = 0.05 * (depth != "8") + 0.02 * (settings.get("trainable") == "probe")
    return 0.9 - 0.2 * far - lost - 0.1 / epoch


def make(
    journal: Path,
    *,
    names: str | None = None,
    seconds: float = 1e9,
    seed: int = 1,
    events: list[Event] | None = None,
    **changes: Any,
) -> tuple[Search, Space]:
    space = make_space({**SETTINGS, **changes}, EXTENTS, names)
    heard = [] if events is None else events
    return Search(journal, space, seed=seed, seconds=seconds, on_event=heard.append), space


def explore(journal: Path, clock: Clock, most_trials: int, **options: Any) -> list[TrialEnd]:
    """Search with the toy and return the first trials."""
    search, space = make(journal, **options)
    with contextlib.suppress(Enough):
        search.run(Toy(clock, space, most_trials=most_trials), lambda: None)
    return search.trials()


def what(trials: list[TrialEnd]) -> list[tuple[Any, ...]]:
    """Return what is a function of the seed alone, lost trials left out."""
    return [(t.settings, t.state, t.scores) for t in trials if t.state != "lost"]


def test_the_first_trial_is_the_settings_given_and_the_second_a_probe(
    clock: Clock, tmp_path: Path
) -> None:
    trials = explore(tmp_path / "j", clock, 3, learning_rate=3e-3, batch_size=7, trainable="last-2")
    given = {**GIVEN, "learning_rate": 3e-3, "batch_size": 7, "trainable": "last-2"}
    assert trials[0].settings == given
    assert trials[1].settings == {**given, "trainable": "probe", "depth": "auto"}


def test_it_ends_better_than_it_began(clock: Clock, tmp_path: Path) -> None:
    trials = explore(tmp_path / "j", clock, 25)
    best = max(trials, key=lambda trial: trial.score or 0)
    assert best.score > trials[0].score + 0.02
    assert [trial.number for trial in trials] == list(range(1, 26))
    bests = [trial.score for trial in trials if trial.is_best]
    assert bests == sorted(set(bests))
    assert bests[-1] == best.score


def test_the_same_seed_gives_the_same_trials_and_another_one_others(
    clock: Clock, tmp_path: Path
) -> None:
    first, again = (explore(tmp_path / name, clock, 12) for name in "ab")
    other = explore(tmp_path / "c", clock, 12, seed=2)
    assert what(first) == what(again)
    assert what(first)[2:] != what(other)[2:]


def test_no_settings_are_tried_twice_and_a_small_space_is_searched_to_its_end(
    clock: Clock, tmp_path: Path
) -> None:
    events: list[Event] = []
    trials = explore(tmp_path / "j", clock, 99, names="depth,trainable", events=events)
    assert len({str(trial.settings) for trial in trials}) == len(trials)
    # depth: all, auto, 6, 8, 10; trainable: full, last-2, last-4, lora, probe
    assert len(trials) == 5 * 5
    assert isinstance(events[-1], Note)
    assert "known already or too long" in events[-1].text


def test_settings_that_change_nothing_are_put_aside() -> None:
    space = make_space(SETTINGS, EXTENTS, None)
    probe = {**space.given, "trainable": "probe", "depth": "auto"}
    assert space.effective({**probe, "num_epochs": 6, "learning_rate": 1e-4}) == probe
    capped = space.effective({**space.given, "trainable": "last-4", "depth": "2"})
    assert capped["trainable"] == "last-2"


def test_a_probe_has_no_rates_by_layer() -> None:
    space = make_space({**SETTINGS, "layer_decay": 0.9}, EXTENTS, "trainable,layer_decay,depth")
    assert space.first()[1] == {"trainable": "probe", "layer_decay": 1.0, "depth": "auto"}


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({}, "single_label", ("full", "last-2", "last-4", "lora", "probe")),
        ({}, "multi_label", ("full", "last-2", "last-4", "lora")),
        ({"gradient_checkpointing": True}, "ordinal", ("full", "last-2", "last-4", "lora")),
        ({"trainable": "lora", "lora_rank": 4}, "single_label", ("lora",)),
        (
            {"trainable": "last-7"},
            "single_label",
            ("full", "last-2", "last-4", "lora", "probe", "last-7"),
        ),
    ],
    ids=["default", "no-heads", "checkpointing", "lora", "given"],
)
def test_what_is_at_odds_with_the_settings_given_is_not_tried(
    changes: dict[str, Any], kind: LabelKind, expected: tuple[str, ...]
) -> None:
    space = make_space({**SETTINGS, **changes}, replace(EXTENTS, kind=kind), None)
    assert space.ranges["trainable"].choices == expected
    assert ("auto" in space.ranges["depth"].choices) == (kind != "multi_label")
    assert any(first["trainable"] == "probe" for first in space.first()) == ("probe" in expected)
    for trainable in expected:  # no proposal is refused
        settings = space.effective({**space.given, "trainable": trainable, "layer_decay": 0.9})
        TrainConfig(data="x", **{**SETTINGS, **changes, **settings})


def test_label_weights_are_tried_where_nothing_else_weighs_labels() -> None:
    for changes, kind, expected in (
        ({}, "single_label", ("none", "balanced")),
        ({"class_weights": "a=2"}, "multi_label", ("none", "balanced", "a=2")),
        ({"sampling": "balanced"}, "single_label", ("none",)),
        ({}, "regression", ("none",)),
    ):
        space = make_space({**SETTINGS, **changes}, replace(EXTENTS, kind=kind), None)
        assert space.ranges["class_weights"].choices == expected
    weighted = {**SETTINGS, "class_weights": "balanced"}
    stays = make_space(weighted, EXTENTS, "trainable")
    assert "probe" not in stays.ranges["trainable"].choices  # a fitted head has no weights


def test_a_depth_that_is_given_holds_while_the_rest_is_searched(
    clock: Clock, tmp_path: Path
) -> None:
    trials = explore(tmp_path / "j", clock, 99, names="trainable", depth="3")
    tried = {trial.settings["trainable"] for trial in trials}
    assert tried == {"full", "last-2", "last-3", "lora", "probe"}  # last-4 of 3 blocks is last-3


@pytest.mark.parametrize("seconds", [20.0, 60.0, 200.0])
def test_no_trial_begins_that_does_not_fit_and_the_time_is_kept(
    clock: Clock, tmp_path: Path, seconds: float
) -> None:
    began = clock.now
    events: list[Event] = []
    # Depth and what is frozen stay: an epoch of the toy costs the same, as the estimate says.
    names = "learning_rate,num_epochs"
    search, space = make(tmp_path / "j", names=names, seconds=seconds, events=events)
    search.run(Toy(clock, space), lambda: None)
    assert clock.now - began <= seconds
    assert clock.now - began >= seconds - 2  # and it is used
    assert {trial.state for trial in search.trials()} <= {"finished", "pruned"}


def test_a_trial_that_outlasts_the_time_is_stopped_softly_and_what_it_reached_counts(
    clock: Clock, tmp_path: Path
) -> None:
    search, space = make(tmp_path / "j", seconds=2.5, num_epochs=6)
    search.run(Toy(clock, space), lambda: None)
    (trial,) = search.trials()
    assert trial.state == "stopped"
    assert len(trial.scores) == 2
    assert trial.reason == "the time was up"
    assert trial.seconds == 3


def test_more_time_goes_on_where_less_ended(clock: Clock, tmp_path: Path) -> None:
    names = "learning_rate,num_epochs"
    search, space = make(tmp_path / "j", names=names, seconds=21)
    search.run(Toy(clock, space), lambda: None)
    before = search.trials()
    again, space = make(tmp_path / "j", names=names, seconds=21)
    again.run(Toy(clock, space, most_trials=0), lambda: None)  # nothing begins
    more, space = make(tmp_path / "j", names=names, seconds=60)
    more.run(Toy(clock, space), lambda: None)
    assert what(more.trials())[: len(before)] == what(before)
    assert len(more.trials()) > len(before)
    assert sum(trial.seconds for trial in more.trials()) <= 60


def test_what_is_worse_than_most_is_pruned_after_an_epoch(clock: Clock, tmp_path: Path) -> None:
    rates: list[float] = []

    def score(settings: dict[str, Any], epoch: int) -> float:
        if settings["learning_rate"] not in rates:
            rates.append(settings["learning_rate"])
        return 0.8 if rates.index(settings["learning_rate"]) < 5 else 0.1

    search, space = make(tmp_path / "j", names="learning_rate", num_epochs=3)
    with pytest.raises(Enough):
        search.run(Toy(clock, space, score=score, most_trials=7), lambda: None)
    trials = search.trials()
    assert [trial.state for trial in trials] == ["finished"] * 5 + ["pruned"] * 2
    assert trials[5].scores == (0.1,)
    assert trials[5].reason == "worse than most trials after epoch 1"
    assert trials[5].seconds == 1


def test_a_trial_that_fails_is_told_and_the_search_goes_on(clock: Clock, tmp_path: Path) -> None:
    events: list[Event] = []
    search, space = make(tmp_path / "j", names="depth,trainable", events=events)
    toy = Toy(clock, space)

    def attempt(settings: dict[str, Any], judge: EventCallback) -> None:
        if settings["trainable"] == "full":
            raise ConfigError("the loss is nan", expected="a number", remedy="a lower rate")
        toy(settings, judge)

    search.run(attempt, lambda: None)
    trials = search.trials()
    failed = [trial for trial in trials if trial.settings["trainable"] == "full"]
    assert [trial.state for trial in failed] == ["failed"] * 5  # each depth, once
    assert failed[0].reason == "the loss is nan"
    assert failed[0].score is None
    assert len(trials) == 25
    ends = [event for event in events if isinstance(event, TrialEnd)]
    assert ends == trials
    assert [event.number for event in events if isinstance(event, TrialBegin)] == list(range(1, 26))


def test_numbers_are_searched_by_their_loss(clock: Clock, tmp_path: Path) -> None:
    search, _ = make(tmp_path / "j", names="learning_rate", num_epochs=1)
    losses = iter([0.9, 0.4, 0.6])

    def attempt(settings: dict[str, Any], judge: EventCallback) -> None:
        loss = next(losses, None)
        if loss is None:
            raise Enough
        row = epoch_end(1, 0.0)
        judge(replace(row, validation_loss=loss, validation_macro_f1=None))

    with pytest.raises(Enough):
        search.run(attempt, lambda: None)
    trials = search.trials()
    assert [trial.score for trial in trials] == [-0.9, -0.4, -0.6]
    assert [trial.is_best for trial in trials] == [True, True, False]
    assert {trial.metric for trial in trials} == {"loss"}
    assert "loss by epoch 0.400 (best so far)" in trial_text(trials[1])


def test_warnings_are_told_once_and_the_rest_of_a_trials_talk_is_not(
    clock: Clock, tmp_path: Path
) -> None:
    events: list[Event] = []
    search, space = make(tmp_path / "j", names="depth,trainable", events=events)
    toy = Toy(clock, space)

    def attempt(settings: dict[str, Any], judge: EventCallback) -> None:
        judge(Note("texts were cut", is_warning=True))
        judge(Note("a head on the frozen state behind each block"))
        toy(settings, judge)

    search.run(attempt, lambda: None)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes.count("texts were cut") == 1
    assert "a head on the frozen state behind each block" not in notes
    assert any(isinstance(event, Progress) for event in events)


@pytest.fixture(scope="module")
def whole_journal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "j"
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(search_module, "time", clock)
        explore(path, clock, 10)
    return path.read_bytes()


@pytest.mark.parametrize("share", range(0, 100, 7))
def test_a_search_that_died_at_any_write_goes_on_as_if_it_had_not(
    clock: Clock, tmp_path: Path, whole_journal: bytes, share: int
) -> None:
    """The journal only grows, so a death leaves a beginning of it, the last line perhaps torn."""
    journal = tmp_path / "j"
    undisturbed = what(explore(tmp_path / "undisturbed", clock, 10))
    lines = whole_journal.splitlines(keepends=True)
    place = len(lines) * share // 100
    torn = lines[place][: len(lines[place]) // 2]
    journal.write_bytes(b"".join(lines[:place]) + torn)
    events: list[Event] = []
    num_over = len(what(make(journal, events=events)[0].trials()))
    trials = explore(journal, clock, 10 - num_over)
    assert what(trials) == undisturbed
    lost = [trial for trial in trials if trial.state == "lost"]
    notes = [event.text for event in events if isinstance(event, Note)]
    assert len(notes) == len(lost) <= 1
    for note, trial in zip(notes, lost):
        assert note.startswith(f"trial {trial.number} was lost")
        assert note.endswith("tried again")


def test_some_deaths_lose_a_trial(whole_journal: bytes, clock: Clock, tmp_path: Path) -> None:
    lines = whole_journal.splitlines(keepends=True)
    journal = tmp_path / "j"
    place = next(place for place, line in enumerate(lines) if b'"intermediate_value":' in line)
    journal.write_bytes(b"".join(lines[: place + 1]))
    (lost,) = make(journal)[0].trials()
    assert lost.state == "lost"
    assert lost.settings == GIVEN
    assert len(lost.scores) == 1


def test_a_trial_that_ended_the_process_twice_is_left_out(clock: Clock, tmp_path: Path) -> None:
    def die(settings: dict[str, Any], judge: EventCallback) -> None:
        judge(epoch_end(1, 0.5))
        raise KeyboardInterrupt

    journal = tmp_path / "j"
    for _ in range(2):
        search, _ = make(journal)
        with pytest.raises(KeyboardInterrupt):
            search.run(die, lambda: None)
    events: list[Event] = []
    search, space = make(journal, events=events)
    assert "left out from now on" in events[0].text
    with pytest.raises(Enough):
        search.run(Toy(clock, space, most_trials=2), lambda: None)
    states = [(trial.state, trial.settings["trainable"]) for trial in search.trials()]
    assert states[:3] == [("lost", "full"), ("lost", "full"), ("finished", "probe")]


@pytest.mark.parametrize(
    ("search", "found", "remedy"),
    [
        ("learning_rat", "--search learning_rat: cannot search 'learning_rat'",
         "did you mean 'learning_rate'?"),
        ("depth,xyz", "--search depth,xyz: cannot search 'xyz'", "leave --search out"),
        (",", "--search ,: names no setting", "leave --search out"),
    ],
    ids=["near", "far", "none"],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused_by_name(search: str, found: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_space(SETTINGS, EXTENTS, search)
    assert refused.value.found == found
    assert refused.value.remedy.startswith(remedy)


def test_flags_may_be_named_as_they_are_typed() -> None:
    space = make_space(SETTINGS, EXTENTS, "learning-rate, depth, depth")
    assert list(space.ranges) == ["learning_rate", "depth"]


@pytest.mark.parametrize(
    "content", [b"no journal\nat all\n", b"[]\n[]\n", b'{"op_code": 77}\n{}\n']
)
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(RunError, match="not the journal of a search"):
        make(tmp_path / "j")


def test_a_journal_of_another_search_is_refused(clock: Clock, tmp_path: Path) -> None:
    explore(tmp_path / "j", clock, 1, names="depth")
    with pytest.raises(RunError, match="other settings or ranges"):
        make(tmp_path / "j", names="trainable")
