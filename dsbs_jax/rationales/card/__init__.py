"""The quality card of a set of rationales: figures, plots and examples on one page."""
