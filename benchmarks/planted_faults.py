"""Does the report find what was planted?

    python -m benchmarks.planted_faults FOLDER

FOLDER is a data set that `report_quality` trained on. Its test examples get a column `source` of
four values. In one of them the texts lose two words of three; and fifty training texts stand among
the test examples. `lasttoken evaluate --slice-by source` is to call that source worse and no other,
and to count the fifty.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import SCRATCH, Results, figure

SOURCES = ("north", "east", "south", "west")
BROKEN = "south"
NUM_COPIES = 50


def main() -> None:
    """Plant, evaluate, and look for the faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    run = SCRATCH / "report-quality" / folder.name
    chance = random.Random(0)
    rows = []
    for row in _rows(folder / "test.csv"):
        source = chance.choice(SOURCES)
        text = " ".join(row["text"].split()[::3]) if source == BROKEN else row["text"]
        rows.append((text, row["label"], source))
    copies = _trained_on(run)[:NUM_COPIES]
    rows += [(row["text"], row["label"], chance.choice(SOURCES[:2])) for row in copies]
    data = SCRATCH / "planted" / f"{folder.name}.csv"
    data.parent.mkdir(parents=True, exist_ok=True)
    with data.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label", "source"), *rows])
    words = ["evaluate", str(run), str(data), "--slice-by", "source", "--overwrite"]
    subprocess.run([sys.executable, "-m", "lasttoken", *words], check=True)
    metrics = json.loads((run / "evaluations" / folder.name / "metrics.json").read_text("utf-8"))
    slices = [each for each in metrics["slices"] if each["by"] == "column source"]
    worse = [each["value"] for each in slices if each["is_worse"]]
    results = Results("planted_faults", quick=False)
    results.add(
        folder.name,
        {"slices": slices, "notes": metrics["notes"], "called_worse": worse},
        {
            f"{folder.name}: the broken source alone is called worse": figure(
                [float(worse == [BROKEN])]
            ),
            f"{folder.name}: copies counted": figure(
                [
                    float(note.split()[0].replace(",", ""))
                    for note in metrics["notes"]
                    if "stand in the run's training data" in note
                ]
                or [0.0]
            ),
        },
    )
    results.save()


def _trained_on(run: Path) -> list[dict[str, str]]:
    """Return training rows that the run has really seen: its `--limit` takes a part of them."""
    from lasttoken.runs.examples import read_examples
    from lasttoken.runs.record import read_record
    from lasttoken.runs.recorded import recorded_config

    config = recorded_config(run, read_record(run) or {})
    train = read_examples(config).splits.train
    return [{"text": example.text, "label": str(example.label)} for example in train]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
