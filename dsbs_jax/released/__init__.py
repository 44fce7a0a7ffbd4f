"""The authors' released data: reading, splitting and preparing it for SeqIO."""
