"""What tests share: rows, worlds, stages, fixtures. Tests import helpers from here alone, never from each other."""
