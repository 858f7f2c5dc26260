"""The whole main job with the shipped weights, as a newcomer runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from model.load import SCRIPTED_WEIGHTS

KEYS = {
    "ack",
    "accession",
    "draft_status",
    "draft_text",
    "report_url",
    "signed_by",
    "final_status",
    "case_state",
    "audit_entries",
    "audit_verified",
    "seconds",
}


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`prelim demo` off a terminal, in an empty folder."""
    return subprocess.run(
        [sys.executable, "-c", "from plugin.cli import main; main()", "demo", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("PRELIM_")},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_the_demo_gives_one_json_document(tmp_path: Path) -> None:
    """Order, images, draft, signature and audit come to their end; standard output is one document."""
    ended = demo(tmp_path, "--once", "--json")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told.keys() >= KEYS
    assert (told["ack"], told["draft_status"], told["final_status"]) == ("AA", "preliminary", "final")
    assert (told["case_state"], told["signed_by"]) == ("SIGNED", "Dr. Ngozi Okafor")
    assert told["audit_verified"] is True
    assert told["words_changed"] == 4
    assert all(seconds >= 0 for seconds in told["seconds"].values())
    # The phantom in the PACS has an effusion on the left; the draft must have seen it there.
    assert "left pleural effusion" in told["draft_text"]
    assert "right pleural effusion" not in told["draft_text"]
    assert told["draft_text"].startswith("Demonstration only, not for patients")


def test_the_demo_ends_by_itself_off_a_terminal(tmp_path: Path) -> None:
    """Without a terminal it shows progress, draft, difference and where to look, and ends with 0."""
    ended = demo(tmp_path)
    assert ended.returncode == 0, ended.stderr
    for words in (
        "order sent and acknowledged",
        "the draft (preliminary)",
        "{+Clinical correlation",
        "/cases/",
    ):
        assert words in ended.stdout
    assert ended.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_the_demo_stays_up_on_a_terminal_until_ctrl_c(tmp_path: Path) -> None:
    """On a terminal the pages can be clicked through; Ctrl-C ends everything with 0."""
    command = [sys.executable, "-c", "from plugin.cli import main; main()"]
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover - the other process
        os.chdir(tmp_path)
        # What started the tests may have had this signal ignored, and that would be inherited.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(command[0], [*command, "demo", "--model", str(SCRIPTED_WEIGHTS)])
    shown = ""
    while "press Ctrl-C to end" not in shown:
        assert select.select([terminal], [], [], 120)[0], shown
        shown += os.read(terminal, 4096).decode(errors="replace")
    pages = re.search(r"the worklist  (\S+)", shown)
    assert pages is not None
    with urllib.request.urlopen(pages[1], timeout=30) as answer:
        assert b"DEMO-ACC-1" in answer.read()
    os.write(terminal, b"\x03")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
