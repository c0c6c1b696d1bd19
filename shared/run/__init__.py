"""One upload on its way to an endpoint: the loop, its looks, its actions and its end."""
