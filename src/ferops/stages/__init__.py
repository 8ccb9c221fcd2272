"""One thin module a DVC stage: read files, call the packages, write files."""
