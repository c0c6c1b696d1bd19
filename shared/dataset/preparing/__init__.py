"""Preparing: a whole dataset is read, judged, split and written, by one process or several."""
