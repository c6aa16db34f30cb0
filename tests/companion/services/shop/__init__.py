"""What the services of these recordings share."""
