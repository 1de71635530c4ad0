"""`lasttoken`, traced, and stopped if asked to: stopped_command.py TRACE STEP train ...

TRACE is the beginning of a file's name: each process lists the training examples that it takes, in
their order. Behind STEP, if it is not 0, the main process gets SIGTERM.
"""

import os
import signal
import sys
from typing import Any

NUM_TRAINING = 32  # the other splits have other sizes


def main() -> int:
    from lasttoken.cli import main as lasttoken
    from lasttoken.launch import process_rank
    from lasttoken.training.sampler import TokenizedExamples
    from lasttoken.training.saver import Saver

    trace, step = sys.argv[1], int(sys.argv[2])
    real_step, real_item = Saver.after_step, TokenizedExamples.__getitem__

    def after_step(self: Saver) -> None:
        if self._state.step == step and process_rank() == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        real_step(self)

    def item(self: TokenizedExamples, index: int) -> Any:
        if len(self) == NUM_TRAINING:
            with open(f"{trace}-{process_rank()}", "a") as file:
                file.write(f"{index}\n")
        return real_item(self, index)

    Saver.after_step = after_step  # type: ignore[method-assign]
    TokenizedExamples.__getitem__ = item  # type: ignore[method-assign]
    return lasttoken(sys.argv[3:])


if __name__ == "__main__":
    sys.exit(main())
