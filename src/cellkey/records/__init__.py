"""Run directories, manifests, atomic writes and table schemas; knows no algorithm."""
