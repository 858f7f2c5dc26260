"""Which patient identifiers name one person, in the caller's transaction."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import Patient
from plugin.tables import PatientLink

_MERGED = "patients were merged"
_ANY = sa.select(sa.exists(sa.select(PatientLink.identifier)))


def surviving(session: Session, patient: Patient) -> Patient:
    """The patient under the identifier that survived every merge so far; the same where there was none."""
    link = link_of(session, patient.identifier, patient.assigning_authority)
    if link is None:
        return patient
    return replace(
        patient,
        identifier=link.surviving_identifier,
        assigning_authority=link.surviving_authority or patient.assigning_authority,
    )


def link_of(session: Session, identifier: str, authority: str) -> PatientLink | None:
    """Where an identifier was merged into; None for one that was not."""
    if not _any_links(session):
        return None
    same = sa.select(PatientLink).where(PatientLink.identifier == identifier)
    found = [
        link for link in session.scalars(same).all() if one_authority(link.assigning_authority, authority)
    ]
    # An identifier without an authority is not guessed to be one of several people.
    exact = [link for link in found if link.assigning_authority == authority]
    chosen = exact or found
    return chosen[0] if len(chosen) == 1 else None


def _any_links(session: Session) -> bool:
    """Whether anybody was ever merged here: most orders are spared a look at each identifier."""
    known = session.info.get(_MERGED)
    if known is None:
        known = session.connection().execute(_ANY).scalar_one()
        session.info[_MERGED] = known
    return bool(known)


def one_authority(one: str, other: str) -> bool:
    """Whether two assigning authorities may be one: a message that names none speaks of any."""
    return not one or not other or one == other


def remember_link(session: Session) -> None:
    """Say that there is a link from now on in this transaction."""
    session.info[_MERGED] = True
