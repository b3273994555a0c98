"""What every program shares: flags, errors, files, signals."""
