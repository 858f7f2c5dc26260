"""Which patient identifiers name one person, in the caller's transaction."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import Patient
from plugin.tables import Case, PatientLink

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
    """Where an identifier was merged into; None for one that was not.

    An identifier with an authority is merged under that authority only. One without is not guessed to be one
    of several people: it is merged where no second authority gives it to anybody.
    """
    if not _any_links(session):
        return None
    same = sa.select(PatientLink).where(PatientLink.identifier == identifier)
    found = {link.assigning_authority: link for link in session.scalars(same)}
    if authority in found or authority or len(found) != 1:
        return found.get(authority)
    return next(iter(found.values())) if len(authorities_of(session, identifier)) <= 1 else None


def authorities_of(session: Session, identifier: str) -> set[str]:
    """Every assigning authority that is known to give an identifier, in cases and in links."""
    told = sa.union(
        sa.select(Case.assigning_authority).where(Case.patient_identifier == identifier),
        sa.select(PatientLink.assigning_authority).where(PatientLink.identifier == identifier),
        sa.select(PatientLink.surviving_authority).where(PatientLink.surviving_identifier == identifier),
    )
    return set(session.scalars(told)) - {""}


def _any_links(session: Session) -> bool:
    """Whether anybody was ever merged here: most orders are spared a look at each identifier."""
    known = session.info.get(_MERGED)
    if known is None:
        known = session.connection().execute(_ANY).scalar_one()
        session.info[_MERGED] = known
    return bool(known)


def remember_link(session: Session) -> None:
    """Say that there is a link from now on in this transaction."""
    session.info[_MERGED] = True
