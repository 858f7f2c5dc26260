"""What the real peers are told, how packages are installed, and what a missing peer does to a test."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

from tests import conftest
from tests.services import debian, keycloak, orthanc, state
from tests.services.__main__ import main


def test_services_json_is_written_whole_and_read_back(tmp_path: Path) -> None:
    """What was written is read, until it is forgotten."""
    state.write({"fhir": "http://127.0.0.1:1/fhir"}, tmp_path / "new")
    assert state.read(tmp_path / "new") == {"fhir": "http://127.0.0.1:1/fhir"}
    state.forget(tmp_path / "new")
    assert state.read(tmp_path / "new") == {}


def test_services_json_is_for_its_owner_only(tmp_path: Path) -> None:
    """It holds a password, so nobody else may read it."""
    state.write({}, tmp_path)
    assert stat.S_IMODE((tmp_path / "services.json").stat().st_mode) == 0o600


def test_orthanc_stays_on_this_machine(tmp_path: Path) -> None:
    """Without a password the archive answers this machine only, and opens no DICOM port."""
    told = orthanc.settings(tmp_path, 1)
    assert told["RemoteAccessAllowed"] is False
    assert told["DicomServerEnabled"] is False


def test_keycloak_stays_on_this_machine(tmp_path: Path) -> None:
    """It listens on loopback, keeps nothing, and its admin's password is not among its arguments."""
    told = keycloak.command(tmp_path, 1)
    assert "--http-host=127.0.0.1" in told
    assert "--db=dev-mem" in told
    assert not [word for word in told if "admin" in word or "password" in word]


def test_keycloak_is_asked_without_the_admins_password() -> None:
    """The address that is written down holds it; what is asked, and shown, does not."""
    assert keycloak.root("http://prelim:secret@127.0.0.1:8080") == "http://127.0.0.1:8080"


def fake_apt(folder: Path, policy: Path) -> dict[str, str]:
    """An environment whose apt-get notes its arguments and whether services were forbidden at that moment."""
    (folder / "apt-get").write_text(
        f'#!/bin/sh\n[ -x "{policy}" ] && sh "{policy}"\necho "$? $*" >> "{folder}/calls"\n', encoding="utf-8"
    )
    (folder / "apt-get").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_packages_are_installed_with_their_services_forbidden(tmp_path: Path) -> None:
    """While apt runs, policy-rc.d forbids starting services; afterwards it is gone again."""
    policy = tmp_path / "policy-rc.d"
    script = debian.INSTALL.replace("/usr/sbin/policy-rc.d", str(policy))
    subprocess.run(["sh", "-c", script, "install", "orthanc"], env=fake_apt(tmp_path, policy), check=True)
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert calls[0].startswith("101 ")
    assert calls[1].startswith("101 ")
    assert calls[1].endswith("install orthanc")
    assert not policy.exists()


def test_the_machines_own_policy_stays(tmp_path: Path) -> None:
    """A policy-rc.d that was there before belongs to the machine."""
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n", encoding="utf-8")
    policy.chmod(0o755)
    script = debian.INSTALL.replace("/usr/sbin/policy-rc.d", str(policy))
    subprocess.run(["sh", "-c", script, "install", "orthanc"], env=fake_apt(tmp_path, policy), check=True)
    assert (tmp_path / "calls").read_text(encoding="utf-8").startswith("104 ")
    assert "104" in policy.read_text(encoding="utf-8")


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong word starts and ends nothing, and says what is right."""
    assert main(["strat"]) == 2
    assert "start|stop|status" in capsys.readouterr().err


def test_a_missing_peer_skips_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the peer the test skips and says how to start it."""
    monkeypatch.delenv("PRELIM_REQUIRE_SERVICES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="run `make services`"):
        conftest.absent("run `make services`")


def test_a_missing_peer_fails_where_it_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PRELIM_REQUIRE_SERVICES=1 promises the peers, a skip would hide that a test never ran."""
    monkeypatch.setenv("PRELIM_REQUIRE_SERVICES", "1")
    with pytest.raises(pytest.fail.Exception, match="run `make services`"):
        conftest.absent("run `make services`")


def test_hypothesis_runs_the_same_examples_every_time() -> None:
    """A failure on one machine is a failure on every machine."""
    assert settings.default is not None
    assert settings.default.derandomize
