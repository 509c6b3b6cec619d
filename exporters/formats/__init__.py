"""One file per export format; each offers its exporter as `EXPORTER`."""
