"""Does prediction hold memory and pace over 1,000,000 rows, and a kill at any time?

    python -m benchmarks.large_prediction [--rows 1000000] [--kills 5]

A random GPT-2 of two layers classifies tables of 10,000, 100,000 ... up to `--rows` rows, each in a
process of its own: its peak memory, and the processor's time a row early and late in it. Then the
largest is predicted again, killed so many times at random moments and started again each time: the
output must be the same byte for byte. Input and output are Parquet, the input in one row group,
which is the hardest to read in little memory. Exit code 1 if the peak grows by more than a tenth, a
byte differs, or an attempt could not be killed. What was measured before an interruption is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, SCRATCH, SMOKE, Results, figure

LEAST_ROWS = 500 if SMOKE else 10_000
MOST_ROWS = 3_000 if SMOKE else 1_000_000
GROWTH = 1.1  # of the peak, at most
WORDS = ("a", "film", "story", "good", "bad", "dull", "bright", "long", "short", "told", "twice")

# Time is the processor's, which programs running beside change least; one mark a tenth of the rows.
PROGRAM = """
import json, sys, time
from lasttoken.config import PredictConfig
from lasttoken.deploy.opening import opener_of
from lasttoken.events import Progress
from lasttoken.runs.predict import run_prediction

run, source, output, rows = sys.argv[1:]
marks = []

def listen(event):
    if isinstance(event, Progress) and event.done >= len(marks) * int(rows) / 10:
        marks.append((event.done, time.process_time()))

config = PredictConfig(run=run, input=(source,), output=output, precision="fp32", overwrite=True)
started = time.perf_counter()
run_prediction(config, opener_of(run), on_event=listen)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "peak_bytes": int(peak.split()[1]) * 1024, "marks": marks}))
"""


def main() -> int:
    """Measure every size, then kill and resume; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=MOST_ROWS)
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args()
    folder = SCRATCH / ("smoke" if SMOKE else "large") / "prediction"
    folder.mkdir(parents=True, exist_ok=True)
    model = _tiny_model(folder / "model")
    results = Results("large_prediction", quick=options.rows < MOST_ROWS)
    sizes = list(_sizes(options.rows))
    for rows in sizes:
        if not results.has(f"{rows:,} rows"):
            _measure(model, folder, rows, results)
    measured = [results.parts[f"{rows:,} rows"] for rows in sizes]
    growth = measured[-1]["peak_bytes"] / measured[0]["peak_bytes"]
    moments, sha256 = _kill_and_resume(model, folder, options.rows, options.kills)
    is_same = sha256 == measured[-1]["sha256"]
    results.add(
        "killed",
        {"moments": moments, "is_same": is_same},
        {
            "peak, most over least rows": figure([growth], unit="x"),
            "attempts killed": figure([len(moments)]),
            "killed and resumed, byte-identical": figure([float(is_same)]),
        },
    )
    results.save()
    print(f"killed {len(moments)} times: output {'the same' if is_same else 'DIFFERS'}")
    return 0 if is_same and growth <= GROWTH and len(moments) == options.kills else 1


def _sizes(most: int) -> Iterator[int]:
    """Yield the least number of rows, ten times as many, and so on, and `most`."""
    size = min(LEAST_ROWS, most)
    while size < most:
        yield size
        size *= 10
    yield most


def _measure(model: Path, folder: Path, rows: int, results: Results) -> None:
    """Predict a table undisturbed."""
    source, output = (
        _write_rows(folder / f"{rows}.parquet", rows),
        folder / f"{rows}-labels.parquet",
    )
    _remove(output)
    process = _start(model, source, output, rows)
    told, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"prediction ended with {process.returncode}")
    details: dict[str, Any] = json.loads(told)
    marks = details["marks"]  # the first is before any row, the last behind all
    per_row = (marks[-1][1] - marks[0][1]) / rows
    late = (_time_per_row(marks, -4, -1) / _time_per_row(marks, 1, 4)) if len(marks) > 8 else 1.0
    results.add(
        f"{rows:,} rows",
        {**details, "output_bytes": output.stat().st_size, "sha256": _sha256(output)},
        {
            f"{rows:,} rows / peak memory": figure([details["peak_bytes"] / 2**20], unit=" MiB"),
            f"{rows:,} rows / processor's time a row": figure([1e6 * per_row], unit=" us"),
            f"{rows:,} rows / time a row, late over early": figure([late], unit="x"),
        },
    )


def _time_per_row(marks: list[tuple[int, float]], first: int, last: int) -> float:
    (before, earlier), (after, later) = marks[first], marks[last]
    return (later - earlier) / (after - before)


def _kill_and_resume(model: Path, folder: Path, rows: int, kills: int) -> tuple[list[float], str]:
    """Predict the largest table, killed at random moments while answers are kept.

    Returns:
        The seconds after which each attempt was killed, and the SHA-256 of the output.
    """
    source, output = folder / f"{rows}.parquet", folder / "killed-labels.parquet"
    _remove(output)
    draw, moments = random.Random(7), []
    share = rows // 2_000 // (kills + 1)  # chunks that each attempt should come further
    for number in range(kills):
        started = time.perf_counter()
        process = _start(model, source, output, rows)
        wanted = number * share + draw.randint(1, max(1, share))
        while process.poll() is None and len(list(_answers(output).glob("*.npz"))) < wanted:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 0.5))  # anywhere inside the next chunk
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            moments.append(round(time.perf_counter() - started, 2))
        process.wait()
    process = _start(model, source, output, rows)
    process.communicate()
    return moments, _sha256(output)


def _answers(output: Path) -> Path:
    return output.with_name(f".{output.name}.lasttoken-answers")


def _remove(output: Path) -> None:
    """Remove what an earlier measurement left, its answers too: they would not be computed."""
    output.unlink(missing_ok=True)
    shutil.rmtree(_answers(output), ignore_errors=True)


def _start(model: Path, source: Path, output: Path, rows: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, (model, source, output, rows))],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _tiny_model(folder: Path) -> Path:
    """Train a classifier on a random GPT-2 of two layers; returns its model folder."""
    if (folder / "run" / "model" / "config.json").is_file():
        return folder / "run"
    from tests.families import save_decoder

    from lasttoken.cli import main as run

    data = folder / "texts.csv"
    folder.mkdir(parents=True, exist_ok=True)
    texts = [f"a {word} film {n},{label}" for n in range(40)
             for word, label in (("good", "pos"), ("bad", "neg"))]  # fmt: skip
    data.write_text("text,label\n" + "\n".join(texts) + "\n", encoding="utf-8")
    decoder = save_decoder(folder / "decoder")
    words = ["train", data, "--model", decoder, "--output-dir", folder / "run", "--num-epochs", 1,
             "--precision", "fp32", "--overwrite"]  # fmt: skip
    if run([str(word) for word in words]):
        raise SystemExit("the tiny model could not be trained")
    return folder / "run"


def _write_rows(path: Path, rows: int) -> Path:
    """Write numbered texts of 4 to 11 words, all different, into one row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        draw = random.Random(rows)
        texts = (f"{n} {' '.join(draw.choices(WORDS, k=draw.randint(4, 11)))}" for n in range(rows))
        table: dict[str, Any] = {"id": range(rows), "text": list(texts)}
        pq.write_table(pa.table({key: list(value) for key, value in table.items()}), path,
                       row_group_size=rows)  # fmt: skip
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
