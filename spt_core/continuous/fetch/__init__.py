"""Documents from the network: guarded, scheduled, bounded."""
