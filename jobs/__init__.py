"""Thin entry points, one per verb: `python -m jobs.VERB INDUSTRY/TASK ...`."""
