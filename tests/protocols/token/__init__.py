"""The `token` generation, as values."""
