"""The quality card of a set of rationales: a page with tables, plots and examples."""
