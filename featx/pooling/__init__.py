"""The pooling room."""
