"""The quality bench: who gets which examples, how answers are scored, what the table says."""

import argparse
import csv
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmarks import quality_table
from benchmarks.quality import __main__ as program
from benchmarks.quality import cells, comparisons, contenders, scores, sets
from benchmarks.quality.cells import Cell
from benchmarks.quality.comparisons import Compared, mean_interval
from benchmarks.quality.recipes import RECIPES, Facts
from benchmarks.quality.scores import Difference
from sklearn.metrics import accuracy_score, f1_score

EMOTIONS = ["joy", "anger", "grief"]


@pytest.fixture
def data(tmp_path):
    """A folder with a single-label and a multi-label set; the rarest label has ten examples."""
    rng = np.random.default_rng(0)
    rows = {
        "trec6": [(f"question {i}", ["ABBR", "NUM", "HUM"][min(i // 10, 2)]) for i in range(400)],
        "go_emotions": [
            (f"text {i}", "|".join(rng.permutation(EMOTIONS[: 1 + (i < 10) + (i < 60)])))
            for i in range(400)
        ],
    }
    for name, examples in rows.items():
        (tmp_path / name).mkdir()
        for part in ("train", "validation", "test"):
            with (tmp_path / name / f"{part}.csv").open("w", newline="") as file:
                column = "label" if name == "trec6" else "labels"
                csv.writer(file).writerows([("text", column), *examples])
    return tmp_path


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """An empty folder of results."""
    monkeypatch.setattr(cells, "FOLDER", tmp_path / "results")
    for cached in (comparisons.kept, comparisons.difference):
        cached.cache_clear()
    yield tmp_path / "results"
    for cached in (comparisons.kept, comparisons.difference):
        cached.cache_clear()


def counts(split):
    parts = [part for label in split.labels for part in label.split("|")]
    return {part: parts.count(part) for part in sorted(set(parts))}


def test_a_few_examples_a_label_are_exactly_sixteen_or_all_there_are(data):
    splits = sets.draw("trec6", "16", 1, data)
    assert counts(splits["train"]) == {"ABBR": 10, "HUM": 16, "NUM": 10}
    assert counts(splits["validation"]) == counts(splits["train"])
    assert len(splits["test"].texts) == 400


def test_an_example_of_several_labels_counts_for_each_of_them(data):
    train = sets.draw("go_emotions", "16", 1, data)["train"]
    assert counts(train) == {"anger": 16, "grief": 10, "joy": 16}
    assert len(train.texts) == 16  # six with anger beside the ten with all three


@pytest.mark.parametrize("name", ["trec6", "go_emotions"])
def test_a_subset_has_every_label_and_nobody_more_to_validate_on_than_to_train_on(
    data, name, monkeypatch
):
    monkeypatch.setattr(sets, "SIZES", ("16", "5"))
    splits = sets.draw(name, "5", 1, data)
    assert [len(splits[part].texts) for part in ("train", "validation", "test")] == [5, 5, 400]
    assert len(counts(splits["train"])) == 3


def test_a_seed_draws_the_same_examples_again_and_another_one_others(data):
    first, other = (sets.draw("trec6", "16", seed, data)["train"].texts for seed in (1, 2))
    sets.draw.cache_clear()
    assert sets.draw("trec6", "16", 1, data)["train"].texts == first != other


def test_answers_survive_being_written_as_text():
    flags = np.array([[True, False, True], [False, False, False], [False, True, False]])
    assert scores.packed(flags) == "0,2 - 1"
    assert np.array_equal(scores.unpacked("0,2 - 1", 3), flags)


def test_scores_are_those_of_scikit_learn_and_weights_those_of_repeated_examples():
    rng = np.random.default_rng(0)
    truth, given = rng.random((2, 50, 4)) < 0.3
    counted = rng.multinomial(50, np.full(50, 1 / 50))
    again = np.repeat(np.arange(50), counted)
    for rows, weights in ((np.arange(50), None), (again, counted[None].astype(float))):
        accuracy = scores.score("accuracy", truth, given, weights)[0]
        assert accuracy == pytest.approx(accuracy_score(truth[rows], given[rows]))
        macro = f1_score(truth[rows], given[rows], average="macro", zero_division=0)
        assert scores.score("macro_f1", truth, given, weights)[0] == pytest.approx(macro)


def test_thresholds_are_not_scored_on_the_examples_that_they_were_fitted_on():
    rng = np.random.default_rng(0)
    probs, truth = rng.random((60, 20)), rng.random((60, 20)) < 0.1  # nothing can be known
    fitted = scores.decide(probs, "multi-label", scores.fit_thresholds(probs, truth))
    flattering = scores.score("macro_f1", truth, fitted)[0]
    honest = scores.validation_score("macro_f1", "multi-label", probs, truth)
    assert honest < 0.8 * flattering


def test_a_contender_is_worse_only_where_the_interval_leaves_out_no_difference():
    truth = scores.flags_of(["a", "b"] * 100, ["a", "b"])
    wrong = truth.copy()
    wrong[:40] = ~wrong[:40]
    nearly = truth.copy()
    nearly[:1] = ~nearly[:1]
    bad = scores.paired("accuracy", truth, [wrong, wrong], [truth, truth])
    assert bad.is_worse
    assert bad.points == pytest.approx(-20)
    assert not scores.paired("accuracy", truth, [nearly, truth], [truth, truth]).is_worse


def keep(cell, *, test=0.9, validation=0.8, seconds=10.0, predicted="0", **settings):
    record = {"test": test, "validation": validation, "seconds": seconds, "settings": settings}
    machine = {"processor": "a processor", "cpu_features": ["avx2"]}
    rest = {"predicted": predicted, "test_sha256": "x", "threads": 2, "machine": machine}
    cells.write(cell, {**record, **rest, "total_seconds": seconds + 5})


def test_the_trainer_runs_with_what_was_best_on_validation(kept):
    final = Cell("trec6", "500", 2, "trainer")
    with pytest.raises(contenders.NotReadyError, match="5e-05x2"):
        contenders.best_of(contenders.candidates(final))
    for number, cell in enumerate(contenders.candidates(final)):
        keep(cell, validation=0.9 - 0.1 * abs(number - 1))
    settings = contenders.settings_of(final, None)
    assert (settings["learning_rate"], settings["epochs"], settings["seed"]) == (1e-4, 2, 2)


def test_8000_examples_take_what_4000_chose(kept):
    slow, fast = contenders.candidates(Cell("rt_polarity", "4000", 1, "trainer"))
    keep(slow, validation=0.8)
    larger = Cell("rt_polarity", "8000", 1, "trainer")
    with pytest.raises(contenders.NotReadyError, match=r"0\.0001x2 did not run"):
        contenders.settings_of(larger, None)
    keep(fast, validation=0.9)
    settings = contenders.settings_of(larger, None)
    assert (settings["learning_rate"], settings["epochs"]) == (1e-4, 2)
    assert not contenders.is_taken_over(larger)


def test_a_cell_is_run_again_when_its_settings_change_and_else_kept(data, kept, monkeypatch):
    cell = Cell("trec6", "16", 1, "tfidf")
    chosen = argparse.Namespace(sizes=["16"], seeds=[1], sets=["trec6"], contenders=["tfidf"])
    wanted = program.selected(chosen)
    assert wanted == [cell]
    monkeypatch.setattr("benchmarks.quality.run._num_blocks", lambda: 30)
    assert [each.state for each in program.plan(wanted, data, again=False)] == ["new"]
    keep(cell, seed=1)
    assert program.plan(wanted, data, again=False) == []
    keep(cell, seed=7)
    assert [each.state for each in program.plan(wanted, data, again=False)] == ["changed"]


def test_the_table_compares_the_same_test_examples_and_finds_who_took_too_long(kept):
    truth = "0 1 " * 100
    write = {"labels": ["a", "b"], "test_sha256": "x", "truth": truth.strip()}
    (kept / "trec6").mkdir(parents=True)
    cells.truth_path("trec6").write_text(json.dumps(write))
    all_right, half_right = truth.strip(), ("0 " * 200).strip()
    keep(Cell("trec6", "4000", 1, "trainer"), test=0.5, predicted=half_right, seconds=90)
    keep(Cell("trec6", "4000", 1, "lasttoken"), test=1.0, predicted=all_right, seconds=60)
    keep(Cell("trec6", "4000", 1, "lasttoken-third"), test=1.0, predicted=all_right, seconds=60)
    keep(Cell("trec6", "all", 1, "lasttoken"), test=0.96, predicted=all_right)
    rows = {row.split(" | ")[0]: row for row in quality_table.musts()}
    measured = rows["| of these, 4,000 examples, over the tuned Trainer"]
    assert "+50.00 points (+" in measured
    assert "), 1 set and size, 0.67 of its seconds" in measured
    assert rows["| of these, 4,000 examples, in a third of its seconds"].endswith("MISSED |")
    assert rows["| trec6, accuracy, all examples"].endswith("0.9600 | 0.955 | 0.974 | must |")
    page = quality_table.page()
    assert "| Trainer, tuned | 50.0, 90 s | 50.0 |" in page
    assert "**+50.0 (" in page


def test_the_interval_of_a_mean_takes_sizes_of_one_set_to_err_together():
    def compared(data: str, points: float, half: float) -> Compared:
        return Compared(data, "500", Difference(points, (points - half, points + half)))

    of_two_sets = [compared("a", 1.0, 3.0), compared("b", 3.0, 4.0)]
    assert mean_interval(of_two_sets) == pytest.approx((2.0 - 2.5, 2.0 + 2.5))
    of_one_set = [compared("a", 1.0, 3.0), compared("a", 3.0, 4.0)]
    assert mean_interval(of_one_set) == pytest.approx((2.0 - 3.5, 2.0 + 3.5))


FACTS = Facts(
    "single-label", num_examples=500, num_validating=500, num_labels=2, num_blocks=30, fewest=250
)


@pytest.mark.parametrize(
    ("examples", "validating", "epochs", "expected"),
    [
        (32, 32, 10, {"num_epochs": 4, "depth": 30}),
        (500, 500, 2, {"num_epochs": 2, "depth": 18, "trainable": "last-7"}),
        (500, 500, 4, {"num_epochs": 3, "depth": 18, "trainable": "last-12"}),
        (4_000, 1_000, 2, {"num_epochs": 2, "depth": 18, "trainable": "last-8"}),
        (500, 5_000, 1, {"num_epochs": 2, "depth": 18, "trainable": "last-1"}),
    ],
)
def test_a_third_of_the_trainers_passes_is_what_the_last_blocks_learn_in(
    examples: int, validating: int, epochs: int, expected: dict[str, Any]
) -> None:
    facts = replace(
        FACTS, num_examples=examples, num_validating=validating, trainer={"epochs": epochs}
    )
    found = RECIPES["lasttoken-third"](facts)
    assert {
        name: found[name] for name in found if name in expected or name == "trainable"
    } == expected
    if "trainable" in expected and epochs > 1:
        share, learning = validating / examples, int(expected["trainable"].removeprefix("last-"))
        passes = 18 * (1 + share) + expected["num_epochs"] * learning * (3 / 1.3 + share)
        assert passes == pytest.approx(epochs * 30 * (3 + share) / 3, rel=0.06)


def test_every_recipe_is_a_contender():
    assert set(RECIPES) <= set(contenders.CONTENDERS)
