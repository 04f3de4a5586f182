"""Windows of readings of sensors, meters and counters: their models."""
