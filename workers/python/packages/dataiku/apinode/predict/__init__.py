"""Custom predictions."""
