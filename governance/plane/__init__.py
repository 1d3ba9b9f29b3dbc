"""What many calls share: ledger, sessions, control switches, approvals, effects."""
