"""What Droptune remembers, and where: runs, lines, and the layout of the storage account."""
