"""Checkpoints on the disk: whatever comes, the latest and its best epoch's weights are there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lasttoken.events import Event, Note
from lasttoken.training.checkpoint import Checkpoint, CheckpointFolder


def checkpoint(step: int, best: str | None) -> Checkpoint:
    tensor = torch.full((3,), float(step))
    return Checkpoint(
        weights={"w": tensor},
        optimizer={"exp_avg": {"0": tensor + 0.5}},
        progress={"kept_logits": torch.zeros((0, 2))},
        state={"step": step, "kept_checkpoint": best},
    )


def save(folder: CheckpointFolder, step: int, best: str | None, *, is_best: bool) -> str | None:
    """Save, and return the name of the best checkpoint so far."""
    name = folder.next_name(step)
    best = name if is_best else best
    folder.save(checkpoint(step, best), name, best=best)
    return best


def step_of(name: str) -> float:
    return float(name.rpartition("-")[2])


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.glob("0*"))


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=12), st.sets(st.integers(1, 12)))
def test_the_latest_and_every_best_it_needs_are_always_there(
    history: list[bool], crashes: set[int]
) -> None:
    """After each save, with the newest damaged too; and again where that one was removed."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "checkpoints"
        best = None
        for step, is_best in enumerate(history, start=1):
            folder = CheckpointFolder(path)
            best = save(folder, step, best, is_best=is_best)
            found = folder.load()
            assert found is not None
            assert found.weights["w"].tolist() == [step] * 3
            assert found.optimizer["exp_avg"]["0"].tolist() == [step + 0.5] * 3
            if best is not None:
                assert found.kept_weights is not None
                assert found.kept_weights["w"].tolist() == [step_of(best)] * 3
            assert len(names(path)) <= 4
            if step in crashes and step > 1:
                newest = names(path)[-1]
                (path / newest / "weights-000.safetensors").write_bytes(b"")
                found = folder.load_and_mend()
                assert found is not None, "the one before was whole"
                assert found.state["step"] < step
                assert newest not in names(path)
                best = found.state["kept_checkpoint"]


def test_what_a_crash_left_is_swept_at_the_next_save(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    best = save(folder, 1, None, is_best=False)
    left = tmp_path / "checkpoints" / "000002-step-2.lasttoken-new-77"
    left.mkdir()
    (left / "weights-000.safetensors").write_bytes(b"half")
    (tmp_path / "checkpoints" / "notes.txt").write_text("mine")
    save(folder, 2, best, is_best=False)
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == [
        "000001-step-1", "000002-step-2", "LATEST", "notes.txt"
    ]  # fmt: skip
    folder.clear()
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["notes.txt"]


def test_a_name_of_a_kept_checkpoint_that_leads_elsewhere_is_damage(tmp_path: Path) -> None:
    folder, told = CheckpointFolder(tmp_path / "checkpoints"), []
    folder.save(checkpoint(1, "../../outside"), folder.next_name(1), best=None)

    def on_event(event: Event) -> None:
        assert isinstance(event, Note)
        told.append(event.text)

    assert folder.load(on_event) is None
    assert "state.json names a best checkpoint '../../outside'" in told[0]


def test_large_tensors_go_into_several_files_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lasttoken.training.checkpoint._BYTES_PER_FILE", 100)
    weights = {f"w{n}": torch.arange(n * 7.0) for n in range(12)}  # up to 308 bytes
    content = Checkpoint(weights, {}, {}, {"kept_checkpoint": None})
    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.save(content, folder.next_name(1), best=None)
    files = [path.name for path in (tmp_path / "checkpoints").rglob("weights-*.safetensors")]
    assert len(files) > 6
    found = folder.load()
    assert found is not None
    assert found.weights.keys() == weights.keys()
    assert all(torch.equal(found.weights[name], weights[name]) for name in weights)


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    save(folder, 1, None, is_best=True)
    files = [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ""}
    for (
        path
    ) in files:  # a pickle begins with a protocol number, torch's own files with a zip's mark
        assert not path.read_bytes().startswith((b"\x80", b"PK"))
