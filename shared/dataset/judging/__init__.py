"""Judging: what a row says, and what is wrong with it. Rules of plain data: no network, no processes."""
