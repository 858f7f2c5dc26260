"""Images and text: from a volume and the words of an order to a draft. Knows no hospital interface."""

import logging
import os

# Before anything imports transformers, which reads it once: weights come from folders, never from a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# It warns, when it is imported, of an optional kernel that would be fetched from one.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
