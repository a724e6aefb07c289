"""What the field breaks, tried by a machine: damaged inputs, kills, full disks, edited runs, hostile models."""
