"""One thin module a DVC stage: read files, call the rooms, write files."""
