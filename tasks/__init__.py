"""SeqIO registrations: the datasets of the paper, one module each."""
