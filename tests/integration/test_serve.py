"""Starting and stopping the service: what is wrong is one sentence, and nothing is left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from model.load import SCRIPTED_WEIGHTS
from plugin.db import Database, now
from plugin.intake import Intake
from plugin.serve import Service
from plugin.settings import SettingError, Settings
from plugin.tables import Message
from tests.case_samples import Jobs, fresh_url
from tests.site import sqlite, until


def settings(folder: Path, **changes: Any) -> Settings:
    return Settings(database_url=sqlite(folder), **{"mllp_port": 0, "http_port": 0, **changes})


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("prelim", "mllp"))}


@pytest.fixture
def taken() -> Any:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize("name", ["mllp_port", "http_port"])
def test_a_port_in_use_is_one_sentence(tmp_path: Path, taken: int, name: str) -> None:
    """A port that cannot be listened on names its setting, and the parts that had started end again."""
    service = Service(settings(tmp_path, **{name: taken}), ("listen", "web"))
    with pytest.raises(SettingError, match=f"PRELIM_{name.upper()}: 127.0.0.1:{taken} cannot be listened on"):
        service.start()
    assert ours() == set()


def test_a_folder_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    """A worker whose model cannot be loaded does not start; the listener that had started ends again."""
    chosen = settings(
        tmp_path, model=tmp_path, dicomweb_url="http://127.0.0.1:9", fhir_url="http://127.0.0.1:9"
    )
    with pytest.raises(SettingError, match="PRELIM_MODEL cannot be used"):
        Service(chosen).start()
    assert ours() == set()


@pytest.mark.parametrize(
    ("changes", "name"),
    [({}, "PRELIM_DICOMWEB_URL"), ({"dicomweb_url": "http://127.0.0.1:9", "model": None}, "PRELIM_FHIR_URL")],
)
def test_a_worker_needs_its_peers(tmp_path: Path, changes: dict[str, Any], name: str) -> None:
    """Without an archive, or without a FHIR server, a worker does not start and names the setting."""
    with pytest.raises(SettingError, match=name):
        Service(settings(tmp_path, **{**changes, "model": SCRIPTED_WEIGHTS}), ("work",)).start()


def test_a_stopped_service_leaves_nothing_running(tmp_path: Path) -> None:
    """After stop no thread of ours is left, and the ports are free again."""
    service = Service(settings(tmp_path), ("listen", "web"))
    service.start()
    ports = (service.mllp_port, service.http_port)
    service.stop()
    assert ours() == set()
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass


@pytest.mark.parametrize(("days", "erased"), [(1, True), (0, False)])
def test_a_worker_erases_old_bodies_where_the_site_says_so(tmp_path: Path, days: int, erased: bool) -> None:
    """PRELIM_MESSAGE_DAYS; 0 keeps everything and starts nothing."""
    database = Database(fresh_url(tmp_path))
    Intake(database, Jobs().enqueue).receive(b"no HL7", "127.0.0.1:1")
    with database.write() as session:
        row = session.get_one(Message, 1)
        row.received_at, row.state = now() - timedelta(days=2), "PROCESSED"
    peers = {
        "dicomweb_url": "http://127.0.0.1:9",
        "fhir_url": "http://127.0.0.1:9",
        "model": SCRIPTED_WEIGHTS,
    }
    service = Service(settings(tmp_path, message_days=days, **peers), ("work",))
    service.start()
    try:

        def pruned() -> bool:
            with database.read() as session:
                return session.get_one(Message, 1).pruned_at is not None

        if erased:
            until(pruned, "the body is erased")
        assert ("prelim-pruning" in ours()) == erased
    finally:
        service.stop()
    assert pruned() == erased
    database.close()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PRELIM_MLLP_PORT": "99999"}, "PRELIM_MLLP_PORT must be a whole number from 0 to 65535"),
        ({"PRELIM_DRAFT_STATUS": "final"}, "PRELIM_DRAFT_STATUS must be preliminary or partial"),
        ({"PRELIM_MLLP_PROT": "1"}, "PRELIM_MLLP_PROT is no setting"),
        ({"PRELIM_DATABASE_URL": "postgresql://u:geheim@127.0.0.1:9/x"}, "the database does not answer"),
    ],
)
def test_a_wrong_setting_is_one_sentence_at_start_up(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    """`prelim serve` ends with exit code 1 and a sentence, without a stack and without repeating a secret."""
    ended = subprocess.run(
        [sys.executable, "-c", "from plugin.cli import main; main()", "serve", "--only", "listen"],
        env={**{k: v for k, v in os.environ.items() if not k.startswith("PRELIM_")}, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "geheim" not in ended.stderr + ended.stdout
