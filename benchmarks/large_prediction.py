"""Does prediction hold memory and pace over 1,000,000 rows, and a kill at any time?

    python -m benchmarks.large_prediction [--rows 1000000] [--kills 5]

A random GPT-2 of two layers classifies tables of 10,000, 30,000 ... up to `--rows` rows, each in a
process of its own: its peak memory and its time a row. Then the largest is predicted again, killed
so many times at random moments and started again each time: the output must be the same byte for
byte. Input and output are Parquet, the input in one row group, which is the hardest to read in
little memory. Exit code 1 if the peak grows by more than a tenth or a byte differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import SCRATCH, SMOKE, Results, figure

LEAST_ROWS = 500 if SMOKE else 10_000
MOST_ROWS = 3_000 if SMOKE else 1_000_000
GROWTH = 1.1  # of the peak, at most
WORDS = ("a", "film", "story", "good", "bad", "dull", "bright", "long", "short", "told", "twice")

PROGRAM = """
import sys, time
from lasttoken.cli import main
started = time.perf_counter()
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.perf_counter() - started, int(peak.split()[1]) * 1024)
sys.exit(code)
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
    peaks: dict[int, int] = {}
    per_row: dict[int, float] = {}
    expected = ""
    for rows in _sizes(options.rows):
        source = _write_rows(folder / f"{rows}.parquet", rows)
        output = folder / f"{rows}-labels.parquet"
        seconds, peaks[rows] = _predict(model, source, output)
        per_row[rows] = seconds / rows
        expected = _sha256(output)
        results.add(
            f"{rows:,} rows",
            {"seconds": seconds, "peak_bytes": peaks[rows], "output_bytes": output.stat().st_size},
            {
                f"{rows:,} rows / peak memory": figure([peaks[rows] / 2**20], unit=" MiB"),
                f"{rows:,} rows / time a row": figure([1e6 * per_row[rows]], unit=" us"),
            },
        )
    killed = _kill_and_resume(model, folder, options.rows, options.kills)
    growth = peaks[options.rows] / peaks[min(peaks)]
    same = _sha256(folder / "killed-labels.parquet") == expected
    results.add(
        "killed",
        {"moments": killed, "is_same": same},
        {
            "peak, most over least rows": figure([growth], unit="x"),
            "marginal time a row, most over middle rows": figure(
                [_marginal(per_row)] if len(per_row) > 2 else [1.0], unit="x"
            ),
            "killed and resumed, byte-identical": figure([float(same)]),
        },
    )
    results.save()
    print(f"killed {len(killed)} times: output {'the same' if same else 'DIFFERS'}")
    return 0 if same and growth <= GROWTH else 1


def _sizes(most: int) -> Iterator[int]:
    """Yield the least number of rows, thrice as many, and so on, and `most`."""
    size = min(LEAST_ROWS, most)
    while size < most:
        yield size
        size *= 3
    yield most


def _marginal(per_row: dict[int, float]) -> float:
    """Return time a further row from the middle to the largest size, over that up to the middle."""
    sizes = sorted(per_row)
    least, middle, most = sizes[0], sizes[len(sizes) // 2], sizes[-1]
    seconds = {size: per_row[size] * size for size in sizes}
    late = (seconds[most] - seconds[middle]) / (most - middle)
    return late / ((seconds[middle] - seconds[least]) / (middle - least))


def _kill_and_resume(model: Path, folder: Path, rows: int, kills: int) -> list[float]:
    """Predict the largest table, killed at random moments while answers are kept.

    Returns:
        The seconds after which each attempt was killed.
    """
    output = folder / "killed-labels.parquet"
    answers = output.with_name(f".{output.name}.lasttoken-answers")
    output.unlink(missing_ok=True)
    draw, moments = random.Random(7), []
    share = rows // 2_000 // (kills + 1)  # chunks that each attempt should come further
    for number in range(kills):
        started = time.perf_counter()
        process = _start(model, folder / f"{rows}.parquet", output)
        wanted = number * share + draw.randint(1, max(1, share))
        while process.poll() is None and len(list(answers.glob("*.npz"))) < wanted:
            time.sleep(0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            moments.append(round(time.perf_counter() - started, 2))
        process.wait()
        if output.exists():
            break
    if not output.exists():
        _predict(model, folder / f"{rows}.parquet", output)
    return moments


def _predict(model: Path, source: Path, output: Path) -> tuple[float, int]:
    """Return the seconds and the peak in bytes of a prediction in a process of its own."""
    process = _start(model, source, output)
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"prediction ended with {process.returncode}")
    seconds, peak = out.splitlines()[-1].split()
    return float(seconds), int(peak)


def _start(model: Path, source: Path, output: Path) -> subprocess.Popen[str]:
    words = ["predict", model, source, "--output", output, "--precision", "fp32", "--overwrite"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
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
