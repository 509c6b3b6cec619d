"""Objectives, evaluations, Pareto fronts and their figures of merit; NumPy only."""
