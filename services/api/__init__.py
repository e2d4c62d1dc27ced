"""The process on api_port: health and figures of the fleet (services.status), logging in, and /v1, over HTTP."""
