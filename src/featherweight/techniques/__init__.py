"""What changes a model: family / group / technique, as in the survey."""
