"""Rows that go wrong, files that nobody here wrote, and the oracle that says what should come of them."""
