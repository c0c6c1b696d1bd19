"""The command `droptune`: the local cloud, the runs of the app, and the demo."""
