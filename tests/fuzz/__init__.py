"""Random calls: for each function what is drawn, and what an independent reference says of it."""
