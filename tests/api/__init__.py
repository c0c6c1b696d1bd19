"""Tests of what people ask for over HTTP, and who may."""
