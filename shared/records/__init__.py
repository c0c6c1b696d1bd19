"""What Droptune remembers."""
