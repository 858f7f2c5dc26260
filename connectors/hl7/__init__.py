"""HL7 v2: messages, and the MLLP connections that carry them."""
