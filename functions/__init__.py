"""The triggers: one module each, a binding and one call.

What they call is imported inside the functions: indexing the app must cost what an empty app costs, and an import error
must show as a failed invocation that names it, never as "0 functions found".
"""

CONNECTION = "DROPTUNE_STORAGE"
"""Prefix of the settings of the app's storage account; its queues carry everything that happens."""
