"""One file per figure: SWEEPS, `draw(results) -> Figure`, title and caption in the docstring."""
