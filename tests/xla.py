"""How tests and the commands that they start compile."""

QUICK = "--xla_backend_optimization_level=1"
"""For XLA_FLAGS. Tests spend more time on compilation than in what is compiled: optimise little."""
