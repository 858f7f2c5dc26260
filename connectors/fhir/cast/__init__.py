"""FHIRcast: the sessions of workstations, where a draft is offered and a finished report is heard of."""
