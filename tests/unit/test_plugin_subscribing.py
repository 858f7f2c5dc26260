"""Asking the FHIR server to tell us: what is asked for, how often, and what is said when it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.errors import Unreachable
from plugin.notices import standing_cursor
from plugin.pipeline import Pipeline
from plugin.settings import SettingError, Settings
from plugin.subscribing import RENEWED_AFTER_SECONDS, Subscribing, installation, wanted
from plugin.tables import Cursor
from tests.case_samples import fresh_url
from tests.fhir_followed import Followed, followed

NOTIFIED = {"fhir_notify_url": "http://127.0.0.1:9/notify/fhir", "fhir_notify_secret": "a-secret"}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Followed]:
    with followed(tmp_path, fhir_takes=("orders", "studies"), **NOTIFIED) as site:
        yield site


def subscribing(site: Followed, clock: Clock) -> Subscribing:
    return Subscribing(site.settings, site.database, site.client, clock)


def stored(site: Followed) -> list[dict[str, object]]:
    """The subscriptions on the server."""
    return [version.resource or {} for version in site.store.search("Subscription", [])]


def test_what_is_taken_is_asked_for_under_one_name_of_this_installation(site: Followed, clock: Clock) -> None:
    """Reports always, orders and studies as the setting says; where each stands is remembered."""
    subscribing(site, clock).renew()
    with site.database.read() as session:
        name = installation(session)
        places = {
            word: session.get_one(Cursor, standing_cursor(word)).value
            for word in ("reports", "orders", "studies")
        }
    assert len(name) == 8
    tags = {
        f"Subscription/{one['id']}": one["meta"]["tag"][0]["code"]  # type: ignore[index]
        for one in stored(site)
    }
    assert tags == {place: f"{name}.{word}" for word, place in places.items()}


def test_another_process_of_the_installation_asks_for_the_same(site: Followed, clock: Clock) -> None:
    """It knows the name from the database, and finds what stands."""
    for _ in range(2):
        subscribing(site, clock).renew()
    assert len(stored(site)) == 3


@pytest.mark.parametrize("late", [False, True])
def test_it_is_renewed_when_it_is_time_and_not_before(site: Followed, clock: Clock, late: bool) -> None:
    """Just before nothing is asked; at the moment it is looked at again."""
    asking = subscribing(site, clock)
    asking.renew()
    before = len(site.wire.asked)
    clock.seconds = RENEWED_AFTER_SECONDS - (0 if late else 0.001)
    asking.renew()
    assert (len(site.wire.asked) > before) is late


def test_a_server_that_is_away_is_asked_again_in_the_next_round(site: Followed, clock: Clock) -> None:
    """It is raised, and the next look does not wait ten minutes."""
    asking = subscribing(site, clock)
    site.wire.fails = lambda told: True
    with pytest.raises(Unreachable):
        asking.renew()
    site.wire.fails = lambda told: False
    asking.renew()
    assert len(stored(site)) == 3


def test_a_server_without_topics_is_told_of_once_and_polled(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each subscription that cannot stand is one line, however often it is tried; a signature is found."""
    with followed(tmp_path, fhir_subscribe="topic", **NOTIFIED) as site:
        able = {"type": "Subscription", "interaction": [{"code": "create"}]}
        statement = {**site.client.capabilities(), "rest": [{"mode": "server", "resource": [able]}]}
        site.client.capabilities = lambda: statement  # type: ignore[method-assign]
        asking = subscribing(site, clock)
        for _ in range(3):
            asking.renew()
            clock.seconds += RENEWED_AFTER_SECONDS
        assert stored(site) == []
        assert [one.getMessage().partition(":")[0] for one in caplog.records] == [
            "A subscription does not stand"
        ]
        order, reference = site.published()
        site.sign(reference)
        site.following.round()
        assert site.case(order).state == "SIGNED"


def test_without_an_address_nothing_is_asked_for(tmp_path: Path, clock: Clock) -> None:
    """Not even a name is made for the installation."""
    with followed(tmp_path, fhir_takes=("orders",)) as site:
        subscribing(site, clock).renew()
        with site.database.read() as session:
            assert installation(session) == ""
        assert site.wire.asked == []


@pytest.mark.parametrize("lacking", ["fhir_notify_secret", "fhir_url"])
def test_an_address_without_a_secret_or_a_server_is_refused_at_the_start(
    tmp_path: Path, lacking: str
) -> None:
    """As one sentence that names the setting; so serve and doctor tell it."""
    given = {"fhir_url": "http://127.0.0.1:9/fhir", **NOTIFIED, lacking: ""}
    settings = Settings(database_url=fresh_url(tmp_path), **given)
    with pytest.raises(SettingError, match=f"PRELIM_{lacking.upper()}"):
        wanted(settings)
    with pytest.raises(SettingError, match=f"PRELIM_{lacking.upper()}"):
        Pipeline(settings)
