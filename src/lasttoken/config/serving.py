"""Settings of `lasttoken serve`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from lasttoken.errors import ConfigError
from lasttoken.settings import check_ranges

LARGEST_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Answer over HTTP: POST /classify, a page to try it on, probes and metrics."""

    run: Annotated[str, Doc("run folder, model folder, or folder that lasttoken export wrote")]
    port: Annotated[int, Doc("0: any that is free")] = 8000
    host: Annotated[str, Doc("address to listen on; any but this machine's own asks for a key")] = (
        "127.0.0.1"
    )
    api_key_file: Annotated[str | None, Doc("file that holds the key clients must send")] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "int8"],
        Doc("auto: bf16 where the device multiplies it; int8: RUN/exported/onnx-int8"),
    ] = "auto"
    device: Annotated[str, Doc("auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    max_texts: Annotated[int, Doc("texts of one request")] = 256
    max_characters: Annotated[
        int | None, Doc("characters of one text [250 x the tokens read at once]")
    ] = None
    max_body_bytes: Annotated[int, Doc("bytes of one request")] = 2_000_000
    max_waiting: Annotated[int, Doc("texts that may wait for their answers; more are told 429")] = (
        1_024
    )
    request_seconds: Annotated[float, Doc("a request without an answer by then is told 504")] = 60.0
    grace_seconds: Annotated[float, Doc("to finish what was accepted, after SIGTERM")] = 30.0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: a value is out of its range, or a request could never be accepted.
        """
        check_ranges(
            self,
            positive=(
                "max_texts", "max_characters", "max_body_bytes", "max_waiting", "request_seconds",
                "grace_seconds",
            ),
            not_negative=("port",),
        )  # fmt: skip
        if self.port > LARGEST_PORT:
            raise ConfigError(
                f"--port {self.port}",
                expected=f"between 0 and {LARGEST_PORT:,}",
                remedy="--port 8000",
            )
        if self.max_texts > self.max_waiting:
            raise ConfigError(
                f"--max-texts {self.max_texts} with --max-waiting {self.max_waiting}",
                expected="a queue that holds the largest request",
                remedy=f"--max-waiting {4 * self.max_texts}",
            )
