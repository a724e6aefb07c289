"""The files of a run directory: their names, schemas, reading and writing."""
