"""Tolerant reading of a teacher's replies.

The paper's parsers (`dsbs_jax.data.completions`) read the released completions and do
not change. New extractions use `reader.ReplyReader`, which accepts the forms that chat
models write: reasoning blocks, markup, choices as letters, typeset arithmetic, other
answer phrases, class names in a sentence, and JSON with text around it.

All functions here are pure: they take a text and return values. No text raises an
error, and nothing in a text is executed.
"""
