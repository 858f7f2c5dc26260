"""The pages: server-rendered, nothing fetched from elsewhere, and one form, which replays a message."""
