"""How a FHIR server tells us that something changed: subscriptions of ours, and what they send."""
