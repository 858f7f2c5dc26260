"""The audit log: the tree of RFC 6962, what verification finds, and that rows are only ever added."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from plugin.audit.log import SEARCH_LIMIT, Query, canonical, record, search
from plugin.audit.tree import EMPTY_ROOT, Frontier, grow, leaf_hash, node_hash
from plugin.audit.verify import Checkpoint, verify
from plugin.casework import open_case
from plugin.db import Database
from plugin.migrate import migrate
from plugin.tables import AuditHead, AuditLeaf
from tests.case_samples import a_report, fresh_database, see_report, tamper

# The inputs and roots of Certificate Transparency's own tests of RFC 6962 (sizes 0 to 8).
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
ENTRIES = 6


def mth(entries: list[bytes]) -> bytes:
    """MTH(D[n]) as RFC 6962 section 2.1 writes it: split at the largest power of two below n."""
    if not entries:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_certificate_transparency(size: int) -> None:
    """The tree hashes of the well-known inputs are the published ones, sizes 0 to 8."""
    assert grow(map(leaf_hash, INPUTS[:size])).root.hex() == ROOTS[size]
    assert mth(INPUTS[:size]).hex() == ROOTS[size]


def test_every_size_has_the_root_of_the_definition() -> None:
    """Appending one by one gives MTH of the whole list at every size up to 70."""
    entries = [number.to_bytes(2, "big") for number in range(70)]
    tree = Frontier()
    for size, entry in enumerate(entries, 1):
        tree = tree.append(leaf_hash(entry))
        assert tree.root == mth(entries[:size])
        assert (tree.size, len(tree.roots)) == (size, size.bit_count())


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_any_entries_have_the_root_of_the_definition(entries: list[bytes]) -> None:
    """Whatever the entries are, the root is MTH of them."""
    assert grow(map(leaf_hash, entries)).root == mth(entries)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=20), st.data())
def test_any_other_list_has_another_root(entries: list[bytes], data: st.DataObject) -> None:
    """Changing, dropping or swapping an entry changes the root."""
    at = data.draw(st.integers(0, len(entries) - 1))
    root = grow(map(leaf_hash, entries)).root
    assert grow(map(leaf_hash, [*entries[:at], entries[at] + b"!", *entries[at + 1 :]])).root != root
    assert grow(map(leaf_hash, entries[:at] + entries[at + 1 :])).root != root


def test_a_node_is_no_leaf() -> None:
    """Leaf and node hashes have prefixes of their own (section 2.1), so that no node passes for an entry."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)
    assert hashlib.sha256().digest() == EMPTY_ROOT


@pytest.mark.parametrize(("size", "roots"), [(0, 1), (1, 0), (3, 1), (4, 2)])
def test_a_frontier_that_cannot_be_is_refused(size: int, roots: int) -> None:
    """A tree has one perfect subtree for every set bit of its size."""
    with pytest.raises(ValueError, match="perfect subtrees"):
        Frontier(size, (b"\x00" * 32,) * roots)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        with database.write() as session:
            for number in range(ENTRIES):
                record(session, "test", "case.ready", case_id=f"c{number}", details={"draft": number})
        yield database


def problem(database: Database, against: Checkpoint | None = None) -> str:
    with database.read() as session:
        found = verify(session, against)
    assert found.verified is (found.problem == "")
    return found.problem


def checkpoint(database: Database) -> Checkpoint:
    with database.read() as session:
        found = verify(session)
    return Checkpoint(found.size, found.root)


def recompute(database: Database) -> None:
    """What a thorough forger does: number, hash and head all made to fit the entries again."""
    leaves: list[bytes] = []
    with database.engine.begin() as connection:
        rows = connection.execute(
            sa.select(AuditLeaf.position, AuditLeaf.entry).order_by(AuditLeaf.position)
        ).all()
        for _, entry in rows:
            leaves.append(leaf_hash(entry.encode()))
        tree = grow(leaves)
        for (position, _), leaf in zip(rows, leaves, strict=True):
            connection.execute(
                sa.update(AuditLeaf).where(AuditLeaf.position == position).values(leaf_hash=leaf.hex())
            )
        connection.execute(
            sa.update(AuditHead).values(size=tree.size, roots=[root.hex() for root in tree.roots])
        )


def test_an_untouched_log_holds(database: Database) -> None:
    """Every entry is recomputed, and the root is the tree hash of the entries' texts."""
    with database.read() as session:
        found = verify(session)
        entries = session.scalars(sa.select(AuditLeaf.entry).order_by(AuditLeaf.position)).all()
    assert (found.verified, found.size, found.problem) == (True, ENTRIES, "")
    assert found.root == mth([entry.encode() for entry in entries]).hex()


def test_an_empty_log_holds(tmp_path: Path) -> None:
    """No entries have the root of nothing."""
    with fresh_database(tmp_path) as empty, empty.read() as session:
        found = verify(session, Checkpoint(0, EMPTY_ROOT.hex()))
    assert (found.verified, found.root) == (True, EMPTY_ROOT.hex())


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE audit_leaves SET entry = replace(entry, 'test', 'else') WHERE position = 2",
            "Entry 2 does not say",
        ),
        (
            "UPDATE audit_leaves SET entry = replace(entry, 'draft\":2', 'draft\":9') WHERE position = 2",
            "Entry 2 was changed",
        ),
        ("UPDATE audit_leaves SET entry = entry || ' ' WHERE position = 2", "Entry 2 does not say"),
        ("UPDATE audit_leaves SET entry = 'x' WHERE position = 2", "Entry 2 does not say"),
        ("UPDATE audit_leaves SET actor = 'else' WHERE position = 3", "Entry 3 does not say"),
        ("UPDATE audit_leaves SET action = 'else' WHERE position = 3", "Entry 3 does not say"),
        ("UPDATE audit_leaves SET case_id = 'else' WHERE position = 3", "Entry 3 does not say"),
        ("UPDATE audit_leaves SET case_id = NULL WHERE position = 3", "Entry 3 does not say"),
        ("UPDATE audit_leaves SET message_id = 7 WHERE position = 3", "Entry 3 does not say"),
        ("UPDATE audit_leaves SET at = datetime(at, '+1 hour') WHERE position = 3", "Entry 3 does not say"),
        ("UPDATE audit_leaves SET leaf_hash = hex(zeroblob(32)) WHERE position = 4", "Entry 4 was changed"),
        ("DELETE FROM audit_leaves WHERE position = 0", "Entry 0 is missing"),
        ("DELETE FROM audit_leaves WHERE position = 2", "Entry 2 is missing"),
        ("DELETE FROM audit_leaves WHERE position = 5", "The head holds 6 entries; 5 are there"),
        ("DELETE FROM audit_leaves", "The head holds 6 entries; 0 are there"),
        ('UPDATE audit_head SET size = 5, roots = \'["00", "00"]\'', "The head holds 5 entries; 6 are there"),
        (
            'UPDATE audit_head SET roots = \'["00", "00"]\'',
            "The head holds 6 entries; 6 are there and make another",
        ),
        ("DELETE FROM audit_head", "The head holds 0 entries"),
    ],
)
def test_every_tampering_is_found(database: Database, statement: str, words: str) -> None:
    """A changed entry, column, hash or head, and a missing entry, are found and named."""
    tamper(database, statement)
    assert problem(database).startswith(words)


INSERT = (
    "INSERT INTO audit_leaves SELECT {position}, at, actor, action, case_id, message_id, entry, leaf_hash "
    "FROM audit_leaves WHERE position = 2"
)


@pytest.mark.parametrize("position", [-1, ENTRIES, ENTRIES + 5])
def test_an_inserted_entry_is_found(database: Database, position: int) -> None:
    """An entry before the first, behind the last or far behind it does not pass."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql(INSERT.format(position=position))
    assert problem(database)


def test_an_inserted_entry_that_tells_its_own_position_is_found(database: Database) -> None:
    """Even a well-formed entry behind the last is not what the head holds."""
    with database.read() as session:
        head = session.get_one(AuditHead, 1)
        kept = {"size": head.size, "roots": head.roots}
    with database.write() as session:
        record(session, "test", "case.signed")
    with database.engine.execution_options(prelim_write=True).begin() as connection:
        connection.execute(sa.update(AuditHead).values(kept))
    assert problem(database).startswith("The head holds 6 entries; 7 are there")


@pytest.mark.parametrize("statement", ["UPDATE", "DELETE"])
@pytest.mark.parametrize("position", [0, ENTRIES - 1])
def test_rows_are_only_ever_added(database: Database, statement: str, position: int) -> None:
    """The database itself refuses to change or drop an entry, first or last."""
    words = "UPDATE audit_leaves SET actor = 'x'" if statement == "UPDATE" else "DELETE FROM audit_leaves"
    with pytest.raises(sa.exc.IntegrityError, match="only ever added"), database.engine.begin() as connection:
        connection.exec_driver_sql(f"{words} WHERE position = {position}")
    assert not problem(database)


def test_a_recomputed_tree_fails_against_a_checkpoint(database: Database) -> None:
    """Somebody who rewrites an entry and the whole tree passes alone, never against what was written down."""
    before = checkpoint(database)
    tamper(
        database,
        "UPDATE audit_leaves SET actor = 'else', entry = replace(entry, 'test', 'else') WHERE position = 2",
    )
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_leaves_no_update")
    recompute(database)
    assert not problem(database)
    assert problem(database, before) == "The first 6 entries are not those of the checkpoint."


def test_a_log_that_was_cut_short_fails_against_a_checkpoint(database: Database) -> None:
    """A tail that was dropped with the head made to fit is found by size."""
    before = checkpoint(database)
    tamper(database, "DELETE FROM audit_leaves WHERE position = 5")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_leaves_no_update")
    recompute(database)
    assert not problem(database)
    assert problem(database, before) == "The checkpoint is over 6 entries; only 5 are there."


def test_a_log_that_grew_holds_against_every_earlier_checkpoint(database: Database) -> None:
    """What was written down at any size stays true as entries are added."""
    past = [checkpoint(database)]
    for _ in range(4):
        with database.write() as session:
            record(session, "test", "case.ready")
        past.append(checkpoint(database))
    assert [problem(database, old) for old in past] == [""] * 5
    assert problem(database, Checkpoint(past[1].size, past[2].root))


@pytest.mark.parametrize(
    "text", ["", "5", "5:", ":" + "0" * 64, "5:" + "0" * 63, "5:" + "g" * 64, "-1:" + "0" * 64]
)
def test_a_checkpoint_that_cannot_be_read_is_refused(text: str) -> None:
    """SIZE:ROOT with 64 hexadecimal digits, or one sentence."""
    with pytest.raises(ValueError, match="A checkpoint is SIZE:ROOT"):
        Checkpoint.parse(text)


def test_a_checkpoint_is_read_as_it_is_printed() -> None:
    """White space and capitals do not matter."""
    assert Checkpoint.parse(f" 5:{'AB' * 32}\n") == Checkpoint(5, "ab" * 32)


def test_a_log_is_verified_page_by_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log longer than a page, or as long as exactly some pages, is checked to its end."""
    for page in (1, 2, 4, 6, 7):
        monkeypatch.setattr("plugin.audit.verify.PAGE", page)
        seen: list[tuple[int, int]] = []
        with database.read() as session:
            assert verify(session, progress=lambda *at, seen=seen: seen.append(at)).size == ENTRIES
        assert seen[-1] == (ENTRIES, ENTRIES)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_log_that_grows_while_it_is_verified_holds(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Verification looks at one moment: what is added meanwhile is no tampering."""
    url = (
        f"sqlite:///{tmp_path / 'a.sqlite'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    )
    database = Database(url)
    migrate(database)

    def meanwhile(*_: int) -> None:
        with database.write() as session:
            record(session, "test", "case.ready")

    meanwhile()
    with database.read() as session:
        found = verify(session, progress=meanwhile)
    assert (found.problem, found.size) == ("", 1)
    assert not problem(database)
    database.close()


def test_a_leaf_shares_its_transaction(database: Database) -> None:
    """What is rolled back leaves no entry, and the next one takes its place."""
    with pytest.raises(RuntimeError), database.write() as session:  # noqa: PT012
        record(session, "test", "case.ready")
        raise RuntimeError
    with database.write() as session:
        assert record(session, "test", "case.ready") == ENTRIES
    assert not problem(database)


@given(
    st.dictionaries(
        st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False)
    )
)
def test_an_entry_has_one_text(entry: dict[str, object]) -> None:
    """The order of keys does not matter, and what is written reads as it was."""
    backwards = dict(reversed(entry.items()))
    assert canonical(entry) == canonical(backwards)
    assert " : " not in canonical({"a": 1})


def test_the_log_is_searched_by_what_an_auditor_knows(database: Database) -> None:
    """Case, accession, actor, beginning of the action, signer and time each narrow the answer."""
    with database.write() as session:
        case = open_case(session, "ACC9", "hl7:RIS", 4, "report")
        see_report(session, a_report("ACC9"), "message 4:0", "hl7:RIS", 4)

    def found(query: Query) -> list[str]:
        with database.read() as session:
            return [leaf.action for leaf in search(session, query)]

    whole = ["case.opened", "report.seen", "case.signed"]
    assert found(Query(case_id=case.id)) == whole
    assert found(Query(accession="ACC9")) == whole
    assert found(Query(actor="hl7:RIS")) == whole
    assert found(Query(signer="rosa")) == whole
    assert found(Query(signer="Nobody")) == []
    assert found(Query(action="report")) == ["report.seen"]
    assert found(Query(action="%")) == []
    assert len(found(Query(action="case"))) == ENTRIES + 2
    assert found(Query(after=ENTRIES)) == whole[1:]
    assert found(Query(limit=1)) == ["case.ready"]
    now = datetime.now(UTC)
    assert found(Query(since=now + timedelta(minutes=1))) == []
    assert len(found(Query(until=now + timedelta(minutes=1)))) == ENTRIES + 3


@pytest.mark.parametrize(
    ("limit", "taken"), [(0, False), (1, True), (SEARCH_LIMIT, True), (SEARCH_LIMIT + 1, False)]
)
def test_a_search_has_bounds(database: Database, limit: int, taken: bool) -> None:
    """From 1 to 1,000 entries at once."""
    with database.read() as session:
        if taken:
            assert search(session, Query(limit=limit))
        else:
            with pytest.raises(ValueError, match="limit"):
                search(session, Query(limit=limit))
