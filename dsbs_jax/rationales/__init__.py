"""Judges a teacher's answers: votes, filters, quality figures and the card."""
