"""Pictures of plain numbers. They know no runs or specs; matplotlib is loaded when one is drawn."""
