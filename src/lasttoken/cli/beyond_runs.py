"""Commands about models of others, and for others: `doctor` and `push`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lasttoken.config import DoctorConfig, PushConfig

if TYPE_CHECKING:
    from lasttoken.cli.screen import Screen


def run_doctor_command(config: DoctorConfig, screen: Screen, command: Sequence[str]) -> int:
    """Examine, print what was found, and return the exit code."""
    del command
    from lasttoken.runs.preflight import locate_patient

    locate_patient(config)
    screen.start()
    from lasttoken.cli.diagnosis import doctor_text
    from lasttoken.doctor.run import run_doctor

    outcome = run_doctor(config, on_event=screen)
    screen.show(doctor_text(outcome, as_json=config.json))
    return outcome.exit_code


def run_push_command(config: PushConfig, screen: Screen, command: Sequence[str]) -> int:
    """Show what goes, let it go, and return the exit code."""
    del command
    from lasttoken.model.location import model_folder

    model_folder(config.run)
    from lasttoken.cli.results import push_text
    from lasttoken.deploy.push import plan_push, push

    plan = plan_push(config)
    screen.show(push_text(plan, is_dry=config.dry_run))
    if not config.dry_run:
        screen.show(f"pushed    {push(plan, config, on_event=screen)}")
    return 0
