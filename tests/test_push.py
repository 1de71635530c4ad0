"""`lasttoken push`: exactly the files shown go, nothing else, and nobody is asked by a dry run."""

from __future__ import annotations

import base64
import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import REVIEWS, Command, check_refused

TOKEN = "hf_of_the_test"


class Hub(ThreadingHTTPServer):
    """As much of the Hub's interface as one commit of small files takes, on loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.files: dict[str, bytes] = {}
        self.there: set[str] = set()
        self.private: bool | None = None  # as the last command asked for it
        self.is_private = False  # of a repository that is there
        self.fails_at_commit = False
        self.deleted: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, content: object, code: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        hub = self.server
        hub.asked.append(f"GET {self.path}")
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "no"}, 401)
        if self.path == "/api/whoami-v2":
            return self._answer({"type": "user", "name": "me", "orgs": []})
        files = [{"rfilename": name} for name in sorted(hub.there)]
        return self._answer({"id": "me/films", "siblings": files, "private": hub.is_private})

    def do_POST(self) -> None:
        hub = self.server
        hub.asked.append(f"POST {self.path}")
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else self._chunks()
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "no"}, 401)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            hub.private = asked.get("private", asked.get("visibility") == "private")
            url = f"{hub.address}/me/{asked['name']}"
            if hub.there:
                return self._answer({"error": "You already created this model repo", "url": url,
                                     "id": f"me/{asked['name']}"}, 409)  # fmt: skip
            hub.there, hub.is_private = {".gitattributes"}, hub.private
            return self._answer({"url": url})
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            return self._answer(
                {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                           for file in json.loads(body)["files"]]}
            )  # fmt: skip
        assert "/commit/" in self.path, self.path
        if hub.fails_at_commit:
            return self._answer({"error": "Storage is full"}, 400)
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                value = entry["value"]
                hub.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                hub.deleted.append(entry["value"]["path"])
        return self._answer(
            {"commitUrl": f"{hub.address}/me/films/commit/{'0' * 40}", "commitOid": "0" * 40}
        )

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


@pytest.fixture
def hub(socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def listed(text: str) -> dict[str, int]:
    """Names and sizes of the files that were shown."""
    rows = re.findall(r"^  (\S+) +([\d,]+) bytes$", text, flags=re.MULTILINE)
    return {name: int(size.replace(",", "")) for name, size in rows if name != "together"}


@pytest.fixture
def crowded_run(run_copy: Path) -> Path:
    """A run in whose model folder somebody has left what is nobody's business."""
    for name in ("train.csv", "predictions.parquet", "training_args.bin", "notes.txt", "a.jsonl"):
        (run_copy / "model" / name).write_text("secret")
    (run_copy / "model" / "runs").mkdir()
    return run_copy


def test_a_dry_run_shows_every_file_with_its_size_and_asks_nobody(
    lasttoken: Command,
    crowded_run: Path,
    opened_sockets: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    outcome = lasttoken("push", crowded_run, "me/films", "--dry-run")
    assert (outcome.code, outcome.err) == (0, "")
    assert opened_sockets == []
    shown = listed(outcome.out)
    assert set(shown) == {
        "README.md", "config.json", "lasttoken.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    for name in shown.keys() - {"lasttoken.json"}:
        assert shown[name] == (crowded_run / "model" / name).stat().st_size
    assert "would go to me/films (public):" in outcome.out
    assert (
        "a.jsonl, notes.txt, predictions.parquet, runs/, train.csv, training_args.b" in outcome.out
    )
    assert outcome.out.splitlines()[-1] == "nothing was sent"
    assert "(private)" in lasttoken("push", crowded_run, "films", "--dry-run", "--private").out


def test_what_a_dry_run_shows_is_a_whole_model_in_a_folder_of_its_own(
    lasttoken: Command, finished_run: Path, tmp_path: Path, reviews: Path
) -> None:
    """The listed files alone, in a local folder, answer as the run does."""
    shown = listed(lasttoken("push", finished_run, "me/films", "--dry-run").out)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in shown:
        shutil.copy(finished_run / "model" / name, copy / name)
    for model, output in ((finished_run, "one.csv"), (copy, "two.csv")):
        assert lasttoken("predict", model, reviews, "--output", output).code == 0
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()


def test_a_push_sends_exactly_the_files_shown(
    lasttoken: Command, crowded_run: Path, hub: Hub
) -> None:
    outcome = lasttoken("push", crowded_run, "films", "--private")
    assert outcome.code == 0, outcome.err
    assert {name: len(content) for name, content in hub.files.items()} == listed(outcome.out)
    for name in hub.files.keys() - {"lasttoken.json"}:
        assert hub.files[name] == (crowded_run / "model" / name).read_bytes()
    assert hub.private is True
    assert outcome.out.splitlines()[-1] == f"pushed    {hub.address}/me/films"
    assert TOKEN not in outcome.out + outcome.err


def test_neither_texts_nor_paths_of_this_machine_are_sent(
    lasttoken: Command, crowded_run: Path, hub: Hub, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert lasttoken("push", crowded_run, "films").code == 0
    sent = b"\n".join(content for name, content in hub.files.items() if name != "model.safetensors")
    for text, _ in REVIEWS:
        assert text.encode() not in sent
    assert b"secret" not in sent
    assert str(tmp_path_factory.getbasetemp()).encode() not in sent
    record = json.loads(hub.files["lasttoken.json"])
    assert record["settings"]["data"] == "reviews.csv"
    assert record["model"] == "tiny-gpt2"
    kept = json.loads((crowded_run / "model" / "lasttoken.json").read_text())
    assert Path(kept["settings"]["data"]).is_absolute()
    same = {key: value for key, value in kept.items() if key not in ("settings", "model")}
    assert same == {key: record[key] for key in same}


def test_a_repository_that_is_there_is_left_alone_unless_told_otherwise(
    lasttoken: Command, finished_run: Path, hub: Hub
) -> None:
    hub.there = {"README.md", "model-00001-of-00002.safetensors", "model.safetensors.index.json",
                 "other.txt"}  # fmt: skip
    outcome = lasttoken("push", finished_run, "films")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-3:] == [
        "error: push: me/films is on the Hub already",
        "expected: a new name",
        "try: another NAME, or --overwrite, which adds a commit to it",
    ]
    assert hub.files == {}
    outcome = lasttoken("push", finished_run, "films", "--overwrite")
    assert outcome.code == 0, outcome.err
    assert set(hub.files) == set(listed(outcome.out))
    assert sorted(hub.deleted) == [  # else transformers would read the old weights
        "model-00001-of-00002.safetensors", "model.safetensors.index.json",
    ]  # fmt: skip


def test_a_push_that_ended_before_its_files_were_there_is_made_good_by_the_same_command(
    lasttoken: Command, finished_run: Path, hub: Hub
) -> None:
    hub.fails_at_commit = True
    found, _, remedy = refusal(lasttoken("push", finished_run, "films"))
    assert found.startswith("error: push: films: ")
    assert remedy == "try: the same command again; what arrived is not sent twice"
    assert hub.there == {".gitattributes"}
    hub.fails_at_commit = False
    outcome = lasttoken("push", finished_run, "films")
    assert outcome.code == 0, outcome.err
    assert set(hub.files) == set(listed(outcome.out))


def test_what_should_be_private_does_not_go_to_a_public_repository(
    lasttoken: Command, finished_run: Path, hub: Hub
) -> None:
    hub.there = {"README.md"}
    assert refusal(lasttoken("push", finished_run, "films", "--private", "--overwrite")) == [
        "error: push: me/films is public on the Hub",
        "expected: a private repository",
        "try: make it private in its settings on the Hub, or leave --private out",
    ]
    assert hub.files == {}
    hub.is_private = True
    outcome = lasttoken("push", finished_run, "films", "--overwrite")
    assert outcome.code == 0, outcome.err
    assert "me/films is private on the Hub, and stays so" in outcome.err
    assert hub.files != {}


def refusal(outcome) -> list[str]:
    assert outcome.code == 2
    return outcome.err.splitlines()[-3:]


def test_a_missing_or_refused_token_is_told(
    lasttoken: Command, finished_run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert refusal(lasttoken("push", finished_run, "films")) == [
        "error: push: no token of the Hub on this machine",
        "expected: a token that may write, in HF_TOKEN or saved by `hf auth login`",
        "try: hf auth login; --dry-run shows what would go without one",
    ]
    assert hub.asked == []
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    found, expected, remedy = refusal(lasttoken("push", finished_run, "films"))
    assert found == f"error: push: {hub.address} does not accept the token"
    assert (expected, remedy) == (
        "expected: a token that may write", "try: make a new one on the Hub, then hf auth login",
    )  # fmt: skip
    assert hub.files == {}


def test_without_a_connection_it_says_so(
    lasttoken: Command, finished_run: Path, monkeypatch: pytest.MonkeyPatch,
    opened_sockets: list[str],
) -> None:  # fmt: skip
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    found, expected, remedy = refusal(lasttoken("push", finished_run, "films"))
    assert found.startswith("error: push: https://huggingface.co cannot be reached (")
    assert expected == "expected: a connection to the Hub"
    assert remedy == "try: the same command where there is one; --dry-run shows what would go"
    opened_sockets.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found, _, _ = refusal(lasttoken("push", finished_run, "films"))
    assert found == "error: push: HF_HUB_OFFLINE is set, so the Hub is not asked"
    assert opened_sockets == []


def test_what_is_no_name_no_classifier_or_a_link_is_refused(
    lasttoken: Command, run_copy: Path, tiny_gpt2: Path
) -> None:
    found, _, remedy = refusal(lasttoken("push", run_copy, "a/b/c", "--dry-run"))
    assert found.startswith("error: a/b/c: ")
    assert remedy == f"try: lasttoken push {run_copy} my-classifier"
    check_refused(
        lasttoken("push", tiny_gpt2, "films", "--dry-run"),
        found=f"{tiny_gpt2}: a language model without a trained classification head",
        expected="a classifier", remedy="train one first",
    )  # fmt: skip
    card = run_copy / "model" / "README.md"
    card.unlink()
    card.symlink_to("/etc/passwd")
    check_refused(
        lasttoken("push", run_copy, "films", "--dry-run"),
        found=f"{card}: a link to /etc/passwd", expected="the files themselves",
        remedy=f"cp -rL {run_copy / 'model'} COPY",
    )  # fmt: skip
    card.unlink()
    outcome = lasttoken("push", run_copy, "films", "--dry-run")
    assert "no model card (README.md) would go with it" in outcome.out
