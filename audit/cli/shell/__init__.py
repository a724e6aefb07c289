"""What every command shares: options and their layers, help, output, signals and shortages."""
