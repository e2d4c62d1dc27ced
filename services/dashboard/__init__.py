"""The page at `/` of the API port that shows a fleet at work."""
