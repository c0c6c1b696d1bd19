"""One upload on its way to an endpoint."""
