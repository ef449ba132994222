"""Who may call and who can pay: limits and ledger as one, in one process for all workers."""
