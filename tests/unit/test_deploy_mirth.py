"""The sample channels of interface engines hold what their README promises."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from connectors.hl7.drafts import APPLICATION, STATUSES, WITHDRAWN
from plugin.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "mirth"
ORDERS, DRAFTS = "orders-to-prelim.xml", "drafts-from-prelim.xml"
SOURCE, SENDER = "sourceConnector", "destinationConnectors/connector"
TCP = "com.mirth.connect.connectors.tcp.Tcp"


def channel(name: str) -> ElementTree.Element:
    """A channel, parsed."""
    return ElementTree.fromstring((FOLDER / name).read_text(encoding="utf-8"))


def text(name: str, path: str) -> str:
    """The text of one element that must be there."""
    found = channel(name).findtext(path)
    assert found is not None, path
    return found


@pytest.mark.parametrize("name", [ORDERS, DRAFTS])
def test_a_channel_is_of_the_release_that_the_readme_names(name: str) -> None:
    """Root, connectors and properties carry the version that the importer migrates from."""
    root = channel(name)
    assert (root.tag, root.get("version")) == ("channel", "4.5.0")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", root.findtext("id", ""))
    assert root.find(f"{SOURCE}/properties").get("class") == f"{TCP}ReceiverProperties"  # type: ignore[union-attr]
    assert root.find(f"{SENDER}/properties").get("class") == f"{TCP}DispatcherProperties"  # type: ignore[union-attr]
    assert {one.get("version") for one in root.iter() if one.get("version")} == {"4.5.0"}


@pytest.mark.parametrize("name", [ORDERS, DRAFTS])
@pytest.mark.parametrize("connector", [SOURCE, SENDER])
def test_every_connector_frames_as_mllp(name: str, connector: str) -> None:
    """Start block 0B, end block 1C 0D, and no bytes changed on the way."""
    mode = f"{connector}/properties/transmissionModeProperties"
    assert text(name, f"{mode}/pluginPointName") == "MLLP"
    assert text(name, f"{mode}/startOfMessageBytes") == "0B"
    assert text(name, f"{mode}/endOfMessageBytes") == "1C0D"
    assert text(name, f"{mode}/useMLLPv2") == "false"
    assert text(name, f"{connector}/properties/charsetEncoding") == "ISO-8859-1"


def test_the_two_channels_differ_in_id_and_port() -> None:
    """Both can be deployed in one engine."""
    ports = [text(name, f"{SOURCE}/properties/listenerConnectorProperties/port") for name in (ORDERS, DRAFTS)]
    assert ports == ["6661", "6662"]
    assert text(ORDERS, "id") != text(DRAFTS, "id")


def test_orders_are_queued_in_order_and_their_answers_validated() -> None:
    """One thread, no rotation, unlimited attempts; MSA-2 must be the message's own MSH-10."""
    queue = f"{SENDER}/properties/destinationConnectorProperties"
    assert text(ORDERS, f"{queue}/queueEnabled") == "true"
    assert text(ORDERS, f"{queue}/threadCount") == "1"
    assert text(ORDERS, f"{queue}/rotate") == "false"
    assert text(ORDERS, f"{queue}/validateResponse") == "true"
    assert text(ORDERS, f"{SENDER}/properties/queueOnResponseTimeout") == "true"
    checked = f"{SENDER}/responseTransformer/inboundProperties/responseValidationProperties"
    assert text(ORDERS, f"{checked}/successfulACKCode") == "AA,CA"
    assert text(ORDERS, f"{checked}/validateMessageControlId") == "true"


def test_orders_go_where_prelim_listens_by_default() -> None:
    """127.0.0.1 and the default port of the listener."""
    assert text(ORDERS, f"{SENDER}/properties/remoteAddress") == Settings().mllp_host
    assert text(ORDERS, f"{SENDER}/properties/remotePort") == str(Settings().mllp_port)


def test_what_prelim_could_not_store_now_is_sent_again() -> None:
    """AR or CR with error 207 goes back into the queue, and no other refusal does."""
    script = text(ORDERS, f"{SENDER}/responseTransformer/elements/*/script")
    assert "responseStatus = QUEUED;" in script
    assert "'207'" in script
    assert "(code == 'AR' || code == 'CR')" in script


def test_drafts_pass_on_the_answer_of_the_ris() -> None:
    """Nothing is queued in the engine: the acknowledgement that Prelim gets is the RIS's own."""
    queue = f"{SENDER}/properties/destinationConnectorProperties"
    assert text(DRAFTS, f"{queue}/queueEnabled") == "false"
    assert text(DRAFTS, f"{SOURCE}/properties/sourceConnectorProperties/responseVariable") == "d1"
    assert text(DRAFTS, f"{SENDER}/metaDataId") == "1"


def test_only_drafts_and_withdrawals_pass() -> None:
    """The filter names exactly the statuses that Prelim writes, and its MSH-3."""
    script = text(DRAFTS, f"{SOURCE}/filter/elements/*/script")
    assert f"!= '{APPLICATION}'" in script
    allowed = {*STATUSES.values(), WITHDRAWN}
    assert set(re.findall(r"status != '(\w)'", script)) == allowed
    assert set(re.findall(r"said != '(\w)'", script)) == allowed


@pytest.mark.parametrize("name", [ORDERS, DRAFTS])
def test_the_readme_names_the_ports(name: str) -> None:
    """A reader finds in the table what the file does."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if line.startswith(f"| `{name}`")]
    assert text(name, f"{SOURCE}/properties/listenerConnectorProperties/port") in row
    assert text(name, f"{SENDER}/properties/remotePort") in row
