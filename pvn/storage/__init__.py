"""Files and folders, local or on `gs://`: paths, atomic writes, locks, checksums, copies."""
