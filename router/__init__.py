"""The router: sends each push to the one worker that owns its token."""
