"""A stand-in for the Azure Functions host, around Microsoft's own Python worker library.

The real host is a .NET program that comes with no Python package. This one indexes the app and runs its functions
through `azure-functions-runtime`, as Azure does, and plays the host's part itself: it reads host.json, listens to
queues, fires timers and serves HTTP. What it doesn't prove: the .NET host, the extension bundle, scaling and Azure's
keys.

`python -m localcloud.host --app DIR --port P` is started by the local cloud's supervisor and by tests.
"""
