"""A cluster of up to a thousand nodes, simulated around the real planner and commit code."""
