"""The command `droptune`: check and fetch data, see and steer runs and lines, the local cloud, the demo."""
