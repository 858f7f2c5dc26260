"""The pages: server-rendered, read-only, and nothing fetched from elsewhere."""
