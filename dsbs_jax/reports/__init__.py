"""Reports on students: metrics, comparison, and pages of text, tables and plots."""
