"""DICOMweb: studies found, fetched and read."""
