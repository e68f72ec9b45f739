"""Claims: the ledger that holds them, the audit of their arithmetic, and the verdict on each."""
