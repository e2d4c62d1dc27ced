"""What is done to a fleet, one module each: `run(plan, report)`."""
