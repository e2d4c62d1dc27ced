"""The process on api_port: health and figures of the fleet (services.status), and logging in, over HTTP."""
