"""`lasttoken predict --engine ray`: the workers of a Ray cluster classify, one process writes.

    this process    ranges of rows ──> workers, each with the model and a reader of its own
    this process    <── rows with their answers, in the order of the ranges ──> the output file

Workers read and classify with the code of one process, so the output is the same. When a worker
dies, Ray starts another one and gives it the range, as often as it takes.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lasttoken.config import PredictConfig
from lasttoken.data.inputs import Inputs, count_all
from lasttoken.data.writers import open_writer
from lasttoken.deploy.opening import opener_of
from lasttoken.deploy.ranges import RangeClassifier, RangeJob, Received, divide
from lasttoken.errors import RunError
from lasttoken.events import EventCallback, Note
from lasttoken.runs.predict import TEXTS_PER_CHUNK, PredictOutcome, RowProgress, add_rows
from lasttoken.runs.row_classifier import make_row_classifier

_ROWS_PER_RANGE = 20_000  # at most: some minutes of work, which a dying worker may cost
_RANGES_PER_WORKER = 8  # at least, where there are rows enough: none waits long for the others
_ROWS_PER_WRITE = 2_000


def run_ray_prediction(config: PredictConfig, *, on_event: EventCallback) -> PredictOutcome:
    """Classify Parquet files by the workers of a Ray cluster; rows keep their order.

    The cluster is that of `RAY_ADDRESS`, else one that runs on this machine, else one that is
    started for this command. Run and inputs must have the same paths on every node.

    Raises:
        LastTokenError: the run, the input or the output is not as described, or the cluster ends;
            nothing is left under the output's name.
    """
    config = replace(
        config, run=_everywhere(config.run), input=tuple(map(_everywhere, config.input))
    )
    job = _prepare(config, on_event)
    counts = count_all(config.input, format="parquet")
    outcome = PredictOutcome(0, 0, 0, 0 if config.abstain_below or config.target_accuracy else None)
    received = Received()
    writer = open_writer(
        config.output,
        job.columns,
        overwrite=config.overwrite,
        kinds=job.kinds,
        spreadsheet_safe=config.spreadsheet_safe,
    )
    with writer, _cluster():
        workers = _Workers.of_cluster(config.num_workers)
        size = math.ceil(sum(counts) / (_RANGES_PER_WORKER * workers.number))
        size = max(TEXTS_PER_CHUNK, min(_ROWS_PER_RANGE, size))
        ranges = divide(config.input, counts, size)
        on_event(Note(f"Ray: {workers.text}, {len(ranges):,} ranges of up to {size:,} rows"))
        progress = RowProgress(sum(counts), lambda: None, on_event)
        progress.begin_chunk(0)
        for given in _given(ranges, job, workers):
            answered = received.rows_of(given)
            writer.write(answered)
            outcome = add_rows(outcome, answered)
            progress.end_chunk(len(answered))
            progress.begin_chunk(0)
    progress.end()
    for skipped in received.skipped.values():
        on_event(skipped)
    return outcome


def _prepare(config: PredictConfig, on_event: EventCallback) -> RangeJob:
    """Load the model once here, check everything, and decide what workers must not guess.

    Raises:
        LastTokenError: the run, the input or a setting is not as described.
    """
    # Only columns and first rows are looked at here: bad rows are for the workers to tell.
    inputs = Inputs(config.input, format="parquet", skip_bad_rows=True)
    inputs.close()
    opened = opener_of(config.run)(config, on_event)
    rows = make_row_classifier(
        opened, config, inputs.columns, inputs.sample, inputs.name, on_event=on_event
    )
    context = rows.context
    text, pair = (*rows.text_columns, None)[:2]
    precision: Any = context["precision"]
    decided = replace(config, text_column=text, text_pair_column=pair, precision=precision)
    return RangeJob(decided, inputs.columns, rows.columns, rows.kinds, context)


@dataclass(frozen=True)
class _Workers:
    """How many workers, and what each is given.

    Attributes:
        number: how many.
        num_cpus: of each; below 1 where they share a core.
        num_gpus: of each, 0 or 1.
    """

    number: int
    num_cpus: float
    num_gpus: int

    @classmethod
    def of_cluster(cls, wished: int | None) -> _Workers:
        """Share out what the connected cluster has: a GPU a worker, else a core a worker."""
        import ray

        found = ray.cluster_resources()
        cpus, gpus = max(1, int(found.get("CPU", 1))), int(found.get("GPU", 0))
        number = wished or gpus or cpus
        share = cpus / number
        return cls(number, math.floor(share) if share >= 1 else share, int(gpus >= number))

    @property
    def text(self) -> str:
        """Return them in words."""
        number = f"{self.number:,} worker{'s' if self.number > 1 else ''}"
        if self.num_gpus:
            return f"{number} of one GPU"
        return f"{number} of {self.num_cpus:g} core{'s' if self.num_cpus > 1 else ''}"


def _given(
    ranges: list[dict[str, Any]], job: RangeJob, workers: _Workers
) -> Iterator[list[dict[str, Any]]]:
    """Yield what the workers give for the ranges, in order, some thousand rows at a time.

    Raises:
        RunError: the cluster ends, or Ray gives up.
    """
    import ray.data
    import ray.exceptions

    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    try:
        with ray.data.DataContext.current(context):
            given = ray.data.from_items(ranges, override_num_blocks=len(ranges)).map_batches(
                RangeClassifier,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=workers.number),
                fn_constructor_args=(job,),
                num_cpus=workers.num_cpus,
                num_gpus=workers.num_gpus,
            )
            tables: Iterable[Any] = given.iter_batches(
                batch_size=_ROWS_PER_WRITE, batch_format="pyarrow"
            )
            for table in tables:
                yield table.to_pylist()
    except ray.exceptions.RayError as error:
        raise RunError(
            f"Ray: {str(error).strip().splitlines()[0]}",
            expected="a cluster that runs until the end",
            remedy="look into the logs of Ray, or do without --engine ray",
        ) from error


@contextmanager
def _cluster() -> Iterator[None]:
    """Connect to a cluster, or start one on this machine that ends with the block.

    Raises:
        RunError: neither works.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    # Ray Data warns of its own way to start actors, on standard error, whatever is asked for.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    if ray.is_initialized():  # by the program that called us
        yield
        return
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many classes, the most general one among them
        raise RunError(
            f"Ray: {str(error).strip().splitlines()[0]}",
            expected="the cluster that RAY_ADDRESS names, or a machine on which Ray can start one",
            remedy="ray status, or do without --engine ray",
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else it tells its plan
    try:
        yield
    finally:
        ray.shutdown()


def _everywhere(path: str) -> str:
    """Return a path that holds in whatever folder a worker was started."""
    return os.path.abspath(os.path.expanduser(path))
