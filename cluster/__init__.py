"""Where the project meets its environment: settings, Ray's life cycle, storage, job submission."""
