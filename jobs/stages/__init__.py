"""The stages of a run as a person watches them: each shows a bar, and reuses what is finished.

A stage imports what does its work: torch, ray and others take seconds, and --help needs none.
"""
