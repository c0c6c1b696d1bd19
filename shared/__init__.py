"""What Droptune decides and does, free of triggers: pure rules, records, and the adapters to Azure."""
