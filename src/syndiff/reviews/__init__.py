"""What experts say of cases: kept event by event, exchanged as tables, summarised, and looked up by those who act."""
