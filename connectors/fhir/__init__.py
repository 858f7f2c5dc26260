"""FHIR R4 and R5: one client through which everything passes, and a room for each thing that is done with it.

The client and what all rooms share stand here: the wire, errors, what may leave, which words are ours and
whose identifiers are whose. `drafts` writes ours, `readers` reads what others wrote, `notices` hears of
changes, `cast` is FHIRcast.
"""
