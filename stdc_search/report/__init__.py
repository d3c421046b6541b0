"""A run's records as tables, pictures and a page."""
