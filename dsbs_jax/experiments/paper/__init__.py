"""The paper's tables and figures as grids of runs, with their costs and reports."""
