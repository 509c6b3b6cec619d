"""Jobs that ship with MOBINAS, by file name."""
