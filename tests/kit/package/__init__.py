"""What the tests of the package share: a small tree, and a place outside the sources."""
