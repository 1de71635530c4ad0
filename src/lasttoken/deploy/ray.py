"""`lasttoken predict --engine ray`: the workers of a Ray cluster classify, one process writes.

    this process    ranges of rows ──> workers, each with the model and its own reader
    this process    <── rows with their answers, in the order of the ranges ──> the output file

Workers read and classify with the code of one process, so the output is the same. When a worker
dies, Ray starts another one and gives it the range, as often as it takes.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lasttoken.config import PredictConfig
from lasttoken.errors import ConfigError, LastTokenError, RunError
from lasttoken.events import EventCallback, Note

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lasttoken.runs.predict import PredictOutcome

ROWS_PER_RANGE = 20_000  # at most: minutes of work, which a dying worker may cost
_RANGES_PER_WORKER = 8  # at least, where there are rows enough: none waits long for the others
_ROWS_PER_WRITE = 2_000

# What answers depend on and workers must agree in with this process; their devices may differ.
_AGREED = ("weights", "precision", "temperature")


def require_ray() -> None:
    """Check that Ray is installed, without importing it.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            "--engine ray: the package ray is not installed",
            expected="the extra: lasttoken[ray]",
            remedy="pip install 'lasttoken[ray]'",
        )


def run_ray_prediction(config: PredictConfig, *, on_event: EventCallback) -> PredictOutcome:
    """Classify Parquet files by the workers of a Ray cluster; rows keep their order.

    The cluster is that of `RAY_ADDRESS`, else one that runs on this machine, else one that is
    started for this command. Run and inputs must have the same paths on every node.

    Raises:
        LastTokenError: the run, the input or the output is not as described, or the cluster ends;
            nothing is left under the output's name.
    """
    from lasttoken.data.inputs import Inputs, count_all
    from lasttoken.data.writers import open_writer
    from lasttoken.model.location import model_folder
    from lasttoken.runs.predict import (
        TEXTS_PER_CHUNK,
        PredictOutcome,
        RowProgress,
        add_rows,
        answer_context,
    )
    from lasttoken.runs.row_classifier import open_row_classifier

    model_folder(config.run)
    paths = tuple(_everywhere(path) for path in config.input)
    config = replace(config, run=_everywhere(config.run), input=paths)
    inputs = Inputs(paths, format="parquet", skip_bad_rows=config.skip_bad_rows)
    columns, sample, name = inputs.columns, inputs.sample, inputs.name
    inputs.close()
    rows = open_row_classifier(config, columns, sample, name, on_event=on_event)
    context = answer_context(rows)
    text, pair = (*rows.text_columns, None)[:2]
    job = _Job(
        replace(
            config,
            text_column=text,
            text_pair_column=pair,
            precision=context["precision"],  # type: ignore[arg-type]
        ),
        columns,
        {key: context[key] for key in _AGREED},
    )
    counts = count_all(paths, format="parquet")
    total = sum(counts)
    outcome = PredictOutcome(0, 0, 0, None if rows.threshold is None else 0)
    writer = open_writer(
        config.output,
        rows.columns,
        overwrite=config.overwrite,
        kinds=rows.kinds,
        spreadsheet_safe=config.spreadsheet_safe,
    )
    with writer, _cluster(), _telling():
        workers = _Workers.of_cluster(config.num_workers)
        size = min(ROWS_PER_RANGE, math.ceil(total / (_RANGES_PER_WORKER * workers.number)))
        ranges = _ranges(dict(zip(paths, counts, strict=True)), max(TEXTS_PER_CHUNK, size))
        on_event(Note(f"{workers.number} Ray workers, {workers.text}, {len(ranges):,} ranges"))
        progress = RowProgress(total, lambda: None, on_event)
        progress.begin_chunk(0)
        for answered in _answered(ranges, job, workers):
            writer.write(answered)
            outcome = add_rows(outcome, answered)
            progress.end_chunk(len(answered))
            progress.begin_chunk(0)
    progress.end()
    if outcome.num_texts < total:
        text = f"{total - outcome.num_texts:,} bad rows skipped"
        on_event(Note(text, is_warning=True))
    return outcome


@dataclass(frozen=True)
class _Job:
    """What every worker is told.

    Attributes:
        config: with paths that hold everywhere, columns and precision decided.
        columns: of the input.
        agreed: what its model must have in common with that of the process that writes.
    """

    config: PredictConfig
    columns: tuple[str, ...]
    agreed: Mapping[str, str]


@dataclass(frozen=True)
class _Workers:
    """How many workers, and what each is given.

    Attributes:
        number: how many.
        num_cpus: of each; below 1 where they share a core.
        num_gpus: of each.
    """

    number: int
    num_cpus: float
    num_gpus: int

    @classmethod
    def of_cluster(cls, wished: int | None) -> _Workers:
        """Share out what the connected cluster has: a GPU a worker, else a core a worker."""
        import ray

        found = ray.cluster_resources()
        cpus, gpus = int(found.get("CPU", 1)), int(found.get("GPU", 0))
        number = wished or gpus or max(1, cpus)
        share = cpus / number
        return cls(number, math.floor(share) if share >= 1 else share, int(gpus >= number))

    @property
    def text(self) -> str:
        """Return what each is given, in words."""
        if self.num_gpus:
            return "one GPU each"
        return f"{self.num_cpus:g} core{'s' if self.num_cpus > 1 else ''} each"


class RangeClassifier:
    """A worker: reads ranges of rows and classifies them; Ray makes one in each actor.

    Args:
        job: what to do.

    Raises:
        RunError: this node has other weights than the process that writes.
    """

    def __init__(self, job: _Job) -> None:
        from lasttoken.runs.predict import answer_context
        from lasttoken.runs.row_classifier import open_row_classifier

        self._config = job.config
        self._rows = open_row_classifier(job.config, job.columns, [], job.config.input[0])
        context = answer_context(self._rows)
        for key, value in job.agreed.items():
            if context[key] != value:
                raise RunError(
                    f"{job.config.run}: {key} {context[key]} on one node, {value} on another",
                    expected="the same model on every node",
                    remedy="put the run on a file system that all nodes share",
                )

    def __call__(self, ranges: dict[str, NDArray[Any]]) -> Any:  # noqa: ANN401 - an Arrow table
        """Return the rows of some ranges with their answers."""
        from lasttoken.data.parquet import arrow_table
        from lasttoken.data.tables import iter_rows
        from lasttoken.runs.predict import chunks

        appended: list[dict[str, Any]] = []
        for path, start, stop in zip(*(ranges[key] for key in _RANGE), strict=True):
            reader = iter_rows(
                str(path),
                format="parquet",
                skip_bad_rows=self._config.skip_bad_rows,
                rows=range(int(start), int(stop)),
            ).require(*self._rows.text_columns)
            for chunk in chunks((row for _, row in reader), self._rows.text_columns):
                texts = self._rows.tokenize(chunk)
                appended += self._rows.append(chunk, texts, self._rows.answer(texts))
        return arrow_table(appended, self._rows.columns, self._rows.kinds)


_RANGE = ("path", "start", "stop")


def _ranges(counts: Mapping[str, int], size: int) -> list[dict[str, str | int]]:
    """Divide files into ranges of at most `size` rows, in their order."""
    return [
        {"path": path, "start": start, "stop": min(start + size, num_rows)}
        for path, num_rows in counts.items()
        for start in range(0, num_rows, size)
    ]


def _answered(
    ranges: list[dict[str, str | int]], job: _Job, workers: _Workers
) -> Iterator[list[dict[str, Any]]]:
    """Yield rows with their answers, in order, some thousands at a time."""
    import ray.data

    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    with ray.data.DataContext.current(context):
        answered = ray.data.from_items(ranges, override_num_blocks=len(ranges)).map_batches(
            RangeClassifier,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers.number),
            fn_constructor_args=(job,),
            num_cpus=workers.num_cpus,
            num_gpus=workers.num_gpus,
        )
        tables: Iterable[Any] = answered.iter_batches(
            batch_size=_ROWS_PER_WRITE, batch_format="pyarrow"
        )
        for table in tables:
            yield table.to_pylist()


@contextmanager
def _cluster() -> Iterator[None]:
    """Connect to a cluster, or start one on this machine that ends with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    # Ray Data warns of its own way to start actors, on standard error, whatever is asked for.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    if ray.is_initialized():  # by the program that called us
        yield
        return
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else it tells its plan
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _telling() -> Iterator[None]:
    """Turn what Ray raises in this block into what the worker raised, or into the three lines.

    Raises:
        LastTokenError: in place of an error of Ray.
    """
    import ray.exceptions

    try:
        yield
    except ray.exceptions.RayError as error:
        ours = _ours(error)
        if ours is not None:
            raise ours from error
        raise RunError(
            f"Ray: {str(error).strip().splitlines()[-1]}",
            expected="a cluster that runs until the end",
            remedy="the same again, or without --engine ray; the logs of Ray say more",
        ) from error


def _ours(error: BaseException) -> LastTokenError | None:
    """Return the error of ours that Ray has wrapped, if it is one."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, LastTokenError):
            return cause
        seen.add(id(cause))
        cause = getattr(cause, "cause", None) or cause.__cause__ or cause.__context__
    return None


def _everywhere(path: str) -> str:
    """Return a path that holds in whatever folder a worker was started."""
    return os.path.abspath(os.path.expanduser(path))
