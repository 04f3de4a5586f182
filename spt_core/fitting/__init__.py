"""One network fitted on Ray Train, whatever its family and its answer."""
