"""What every floor stands on: context and task, catalogue, settings, optional extras."""
