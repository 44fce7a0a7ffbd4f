"""Answers for the rows of a file of any size: windows, parts, resume, formats."""
