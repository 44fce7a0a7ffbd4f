"""The local engine: trains, evaluates and runs a student on one machine."""
